"""Processes that decode ahead of time."""
