"""Downstream evaluation: what the features of trained nets are worth on other tasks."""
