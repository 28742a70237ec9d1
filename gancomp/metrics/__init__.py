"""Scores and costs: FID, MACs, parameters."""
