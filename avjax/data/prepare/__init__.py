"""Conversion of media files to shards, and reports of unusable files."""
