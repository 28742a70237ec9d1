"""What is about one kind of data, in one place per kind."""
