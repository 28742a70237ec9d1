"""Readers for each dataset layout, transforms, downloads and the embedded demo set."""
