"""Pure functions on tensors: every loss term, unweighted."""
