"""What is optimized while training: one paper, one file."""
