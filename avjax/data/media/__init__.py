"""Media files: all that uses PyAV."""
