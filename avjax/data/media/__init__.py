"""Media files: everything that uses PyAV."""
