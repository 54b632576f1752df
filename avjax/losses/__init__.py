"""Losses, the negatives they compare with, and who is paired with whom."""
