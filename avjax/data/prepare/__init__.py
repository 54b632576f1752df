"""Media files to shards, and reports of unusable files."""
