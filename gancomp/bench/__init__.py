"""Paired measurements: gancomp's way beside the plain one, in turns, in one run."""
