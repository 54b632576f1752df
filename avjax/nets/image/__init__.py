"""Encoders of single pictures."""
