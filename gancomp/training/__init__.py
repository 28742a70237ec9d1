"""What the training commands share, from the networks of a plan to the files of a run."""
