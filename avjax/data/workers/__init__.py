"""Worker processes that decode ahead of time."""
