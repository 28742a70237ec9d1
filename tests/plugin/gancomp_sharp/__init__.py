"""What a stranger's package adds to gancomp: a line for each table, each in one file."""
