"""Computations on arrays across devices: scores, nearest neighbors, k-means."""
