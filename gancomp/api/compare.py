"""Many runs from one plan, and the page that compares them: `sweep` and `report`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from gancomp import console
from gancomp.api.arguments import of_type
from gancomp.api.boundary import called, log, own_threads
from gancomp.api.measure import Place
from gancomp.paths import expanded
from gancomp.recipes.profile import latency_asked_for
from gancomp.recipes.sweep import asked_for, refuse_unfinished, submit_sweep
from gancomp.recipes.sweep import sweep as sweep_recipe
from gancomp.recipes.sweep_forecast import foresee


def sweep(
    plan: Place,
    out: Place | None = None,
    *,
    jobs: int | None = None,
    devices: str | Sequence[str] = (),
    dry_run: bool = False,
    slurm: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Trains and scores all runs of a plan, as `gancomp sweep` does, each in a process of its own.

    The same call goes on with a sweep that was stopped, however that happened.

    Args:
        plan: the TOML file.
        out: the sweep's folder; by default in `sweeps/` and the plan's name.
        jobs: runs at a time, from 1 on; by default one per device, or 1.
        devices: shared among them, as `["cuda:0", "cuda:1"]`.
        dry_run: only tell the runs, their steps and about how many seconds they take here.
        slurm: only submit `jobs` jobs to Slurm, which do it.
        progress: say on stderr how far it is.

    Returns: the sweep's document, which `out/sweep.json` holds: `runs` with `state`, `values` and
        `protocols`, `table` with mean, sd and n, `differences` with the paired test. With
        `dry_run` the forecast: `runs` with `steps`, `seconds` and `score_seconds`, and `seconds`
        of all; with `slurm` `sweep` and `jobs`, the jobs' numbers.

    Raises:
        GancompError: for whatever the caller can fix, `field` naming the argument; also if a run
            failed, when all others are done and written.
        KeyboardInterrupt: after a signal, when all that was under way was saved.
    """
    with called():
        named = devices.split(",") if isinstance(devices, str) else list(devices)
        request = asked_for(
            expanded(plan),
            None if out is None else expanded(out),
            jobs=None if jobs is None else of_type("jobs", jobs, int),
            devices=[of_type("devices", name, str) for name in named],
        )
        say = console.say if progress else log
        if dry_run:
            return foresee(request, say)
        if slurm:
            return submit_sweep(request, say)
        document = sweep_recipe(request, say)
        refuse_unfinished(request, document)
        return document


def report(
    runs: Place | Sequence[Place],
    out: Place,
    *,
    title: str | None = None,
    latency: bool = False,
    device: str | None = None,
    threads: int | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Writes one HTML page about a run or several, as `gancomp report` does.

    Args:
        runs: the folder of a run or a sweep, or several; none, `[]`, for the latest run.
        out: the file to write, `.html`.
        title: of the page; by default the run's name.
        latency: time the generators on this machine for it.
        device: for `latency`; by default auto.
        threads: CPU threads for `latency`; by default torch's choice.
        progress: say on stderr how far it is.

    Returns: `file`, `bytes`, `sha256`, `runs`, and `missing`: by run what the page has not.

    Raises:
        GancompError: for whatever the caller can fix, `field` naming the argument; without the
            extra `report`, which draws the charts, too.
    """
    from gancomp.report.page import ReportRequest  # it reads runs by this package
    from gancomp.report.page import report as recipe

    with called(), own_threads():
        given = [runs] if isinstance(runs, str | os.PathLike) else list(runs)
        timed = latency_asked_for(latency, device=device, threads=threads)
        request = ReportRequest([*map(expanded, given)], expanded(out), title, timed)
        return recipe(request, console.say if progress else log)
