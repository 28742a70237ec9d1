"""Model files: our own self-describing format, and readers for those of others."""
