"""Where a student comes from: (teacher, budget) -> student."""
