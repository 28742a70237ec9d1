"""What the process that starts a worker and the worker agree on."""

HELD = 75  # EX_TEMPFAIL: a worker's status when another process has the run
PARENT = "GANCOMP_SWEEP_PARENT"  # variable with the process without which a worker stops
