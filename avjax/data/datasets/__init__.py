"""Data sets: each file makes a Source."""
