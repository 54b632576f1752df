"""Weights of others: read safely, named as here, certified, and written for others."""
