"""Ordinary systems on defaults, from their answers to a verdict, and whether it is true."""
