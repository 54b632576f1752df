"""Losses, the negatives they compare with, and who is paired with whom."""

from avjax.losses.functional import dcl, info_nce, siglip

__all__ = ["dcl", "info_nce", "siglip"]
