"""What is optimised while training: one paper, one file."""
