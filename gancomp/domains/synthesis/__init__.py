"""Synthesis: images from noise."""
