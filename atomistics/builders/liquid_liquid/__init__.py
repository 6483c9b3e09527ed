"""Interfaces of liquids."""
