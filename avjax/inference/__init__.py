"""Embeddings from a trained run: `avjax.load`."""
