"""Transforms of clips, in NumPy."""
