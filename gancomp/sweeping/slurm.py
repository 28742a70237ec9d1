"""Hands a sweep to Slurm through submitit: an array of jobs that share the work in its folder.

Each job is `gancomp sweep` again, with one worker; preempted or out of time, it saves and is put
into the queue again.
"""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gancomp.errors import ConfigError
from gancomp.plugins import words_for_files
from gancomp.sweeping.runs import plain_words

INTERRUPTED = 130
CLUSTER = "cluster"  # key of [slurm] that is submitit's executor; all others are its parameters


class Job:
    """One job of the array, which is pickled.

    Args:
        plan: the plan's file.
        out: the sweep's folder, which all machines see.

    The files of plug-ins that are named here are named there.
    """

    def __init__(self, plan: Path, out: Path) -> None:
        self.plan, self.out, self.plugins = plan, out, words_for_files()

    def __call__(self) -> int:
        """Works until nothing is left to do; returns the command's exit status."""
        # by name: it is the command line that imports this module, a job runs it as a whole
        command_line = importlib.import_module("gancomp.__main__")
        status: int = command_line.run(
            ["sweep", str(self.plan), *plain_words({"out": str(self.out)}), *self.plugins]
        )
        if status == INTERRUPTED:  # submitit's own handler, which we displaced, requeues the job
            name = os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2")
            signal.raise_signal(signal.Signals[f"SIG{name}"])
        return status

    def checkpoint(self) -> Any:
        """What submitit puts into the queue again: all that is known is in the folder."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def submit(
    plan: Path, out: Path, jobs: int, settings: Mapping[str, Any], say: Callable[[str], None]
) -> list[Any]:
    """Submits `jobs` jobs as one array; returns them.

    Args:
        plan: the plan's file.
        out: the sweep's folder.
        jobs: how many work at a time.
        settings: the plan's table `[slurm]`.
        say: told their numbers.

    Raises:
        ConfigError: if submitit or Slurm is missing, or it does not know a setting.
    """
    try:
        import submitit
    except ImportError as error:
        raise ConfigError(
            '`slurm`: needs submitit; install it with pip install "gancomp[slurm]"'
        ) from error
    own = dict(settings)
    cluster = own.pop(CLUSTER, "slurm")
    try:
        executor = submitit.AutoExecutor(folder=out / "slurm", cluster=cluster)
        executor.update_parameters(name="gancomp-sweep", **own)
        with executor.batch():
            submitted = [executor.submit(Job(plan.resolve(), out.resolve())) for _ in range(jobs)]
    except (RuntimeError, ValueError, NameError, TypeError, FileNotFoundError) as error:
        raise ConfigError(f"{plan}: slurm: {error}; see submitit's parameters") from error
    say(f"submitted: {', '.join(str(job.job_id) for job in submitted)}; logs in {out / 'slurm'}")
    return submitted
