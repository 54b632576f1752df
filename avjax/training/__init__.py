"""A training run: its parts, its steps, its checks and its cost."""
