"""What torchrun tells each of the processes that it starts, out of their environment."""

from __future__ import annotations

import os
from dataclasses import dataclass

NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
RUN_ID = "TORCHELASTIC_RUN_ID"
NO_ID = "none"  # torchrun's own, where no `--rdzv-id` was given
PATIENCE_S = 1800.0  # that ranks wait for each other


@dataclass
class Voice:
    """Who is heard where several processes run a command.

    Attributes:
        of_command: this process is there for one command, and over once it has told its error.
        speaks: it tells that error for all, since the first one is gone.
    """

    of_command: bool = False
    speaks: bool = False


voice = Voice()


def under_torchrun() -> bool:
    """Whether torchrun started this process, be it the only one."""
    return all(os.environ.get(name) for name in NEEDED)


def has_agent() -> bool:
    """Whether an agent of torchrun's looks after this process.

    Kubernetes' operators and scripts set the variables of ranks, too, and may leave.
    """
    return under_torchrun() and RUN_ID in os.environ


def num_ranks() -> int:
    """How many processes work together; 1 without torchrun."""
    return _number("WORLD_SIZE", 1) if under_torchrun() else 1


def own_rank() -> int:
    """Which of them this process is, from 0; the first one speaks and writes."""
    return _number("RANK", 0) if num_ranks() > 1 else 0


def local_rank() -> int:
    """Which of those on this machine this process is, from 0: the number of its GPU."""
    return _number("LOCAL_RANK", own_rank()) if num_ranks() > 1 else 0


def num_restarts() -> int:
    """How often torchrun has started the processes again."""
    return _number("TORCHELASTIC_RESTART_COUNT", 0)


def may_restart() -> bool:
    """Whether torchrun starts the processes again when one of them fails."""
    return _number("TORCHELASTIC_MAX_RESTARTS", 0) > 0


def job_id() -> str | None:
    """The name of the job, `--rdzv-id`, which its processes keep when they are started again."""
    given = os.environ.get(RUN_ID, NO_ID)
    return None if given == NO_ID else given


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else default


def unheard(message: str) -> None:
    """Takes what would be said, where nobody listens."""
