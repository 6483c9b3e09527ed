"""Crystals from their source, shared by every family that is cut from one."""
