"""The one training loop, its run folder, checkpoints, schedules and logging."""
