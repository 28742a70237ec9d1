"""Many runs from one plan: methods x seeds x datasets, resumable, one table."""
