"""Contrastive losses, sources of negatives, and the pairing of queries with keys."""

from avjax.losses.functional import dcl, info_nce, siglip

__all__ = ["dcl", "info_nce", "siglip"]
