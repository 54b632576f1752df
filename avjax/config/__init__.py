"""A config, a tree of `dict(fn=...)`: read, overridden, checked, and built."""
