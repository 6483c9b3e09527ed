"""Interfaces of solids."""
