"""What each command does, as one straight line of named steps: start reading here."""
