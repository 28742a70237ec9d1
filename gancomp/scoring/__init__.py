"""What the scoring commands share: requests, measurements, and where scores are kept."""
