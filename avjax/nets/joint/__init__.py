"""Nets of two modalities."""
