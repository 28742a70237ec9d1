"""`gancomp sweep`: runs all that a plan asks for, one folder for all of it, and makes the table."""

from __future__ import annotations

import json
import shutil
import typing
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gancomp import console
from gancomp.engine.stopping import listening_for_stop
from gancomp.errors import ConfigError, RunError
from gancomp.files import replacing, write_text
from gancomp.options import all_metric_options
from gancomp.recipes.eval_sr import SrRequest
from gancomp.records import versioned
from gancomp.scoring.request import FidRequest
from gancomp.settings import Json
from gancomp.sweeping import table
from gancomp.sweeping.folder import FAILED, PLAN, SWEEP, WAITING, SweepFolder, is_finished
from gancomp.sweeping.plan import EVAL, EVAL_SR, SweepPlan, read_plan
from gancomp.sweeping.pool import Pool
from gancomp.sweeping.runs import SweepRun, runs_of
from gancomp.sweeping.slurm import submit

Say = Callable[[str], None]
TYPED = (bool, int, float)  # options of a `[[score]]`; all others are given as text


@dataclass(frozen=True)
class SweepRequest:
    """What is to be done.

    Attributes:
        plan: the plan.
        out: the sweep's folder.
        jobs: runs at a time; None: as many as devices, else one.
        devices: shared among them, in turn; empty: as the runs say.
    """

    plan: SweepPlan
    out: Path
    jobs: int | None = None
    devices: tuple[str, ...] = ()


def asked_for(
    plan: Path, out: Path | None, *, jobs: int | None, devices: Sequence[str]
) -> SweepRequest:
    """The request for the plan in a file, by default in `sweeps/` and the plan's name.

    Raises:
        ConfigError: naming all that is wrong with the plan.
    """
    named = tuple(name.strip() for name in devices if name.strip())
    read = read_plan(plan, scoring_options())
    return SweepRequest(read, out or Path("sweeps") / plan.stem, jobs, named)


def scoring_options() -> dict[str, dict[str, type]]:
    """The options of a plan's `[[score]]`: by command and name, with the kinds of their values."""
    own = {option.name.removeprefix("--"): option.kind for option in all_metric_options()}
    beside = {"metrics": str, "bootstrap": int, "pairs": str, "arch": str}
    return {EVAL: _kinds(FidRequest) | beside | own, EVAL_SR: _kinds(SrRequest)}


def _kinds(request: type) -> dict[str, type]:
    """Of each field but the model, which the sweep gives."""
    hints = {name: _without_none(hint) for name, hint in typing.get_type_hints(request).items()}
    return {
        name.replace("_", "-"): kinds[0] if len(kinds) == 1 and kinds[0] in TYPED else str
        for name, kinds in hints.items()
        if name != "model"
    }


def _without_none(hint: Any) -> list[Any]:
    return [kind for kind in typing.get_args(hint) or (hint,) if kind is not type(None)]


def sweep(request: SweepRequest, say: Say) -> Json:
    """Does what is left of the sweep; returns its document, as `sweep.json` has it.

    Raises:
        ConfigError: for options that do not go together.
        RunError: if the folder holds another sweep, or cannot be written.
        InterruptedRunError: after a signal, when all that was under way was saved.
    """
    runs, folder = runs_of(request.plan), SweepFolder(request.out)
    devices = devices_of(request, runs)
    refuse_other_sweep(folder, runs)
    folder.prepare()
    folder.tidy(runs)
    with folder.alone(), replacing(folder.path / PLAN) as aside:
        shutil.copyfile(request.plan.file, aside)
    write_document(folder, request.plan, runs)
    left = [run for run in folder.states(runs) if not is_finished(run)]
    say(f"sweep: {len(runs)} runs, {len(runs) - len(left)} of them done, in {folder.path}")
    with listening_for_stop() as stop:
        Pool(
            folder,
            runs,
            devices,
            say,
            changed=lambda: write_document(folder, request.plan, runs),
            stop=stop,
        ).work()
    document = write_document(folder, request.plan, runs)
    folder.tidy(runs)
    return document


def submit_sweep(request: SweepRequest, say: Say) -> Json:
    """Submits jobs that do the sweep; returns their numbers.

    Raises:
        ConfigError: if that cannot be done.
        RunError: if the folder holds another sweep, or cannot be written.
    """
    runs, folder = runs_of(request.plan), SweepFolder(request.out)
    if request.devices:
        raise ConfigError("`devices`: has no effect with `slurm`; each job has its own")
    jobs = len(devices_of(request, runs))
    refuse_other_sweep(folder, runs)
    folder.prepare()
    submitted = submit(request.plan.file, request.out, jobs, request.plan.slurm, say)
    return {"sweep": str(request.out), "jobs": [str(job.job_id) for job in submitted]}


def devices_of(request: SweepRequest, runs: Sequence[SweepRun]) -> list[str | None]:
    """The device of each run at a time.

    Raises:
        ConfigError: if there are none, or the runs have their own.
    """
    if request.jobs is not None and request.jobs < 1:
        raise ConfigError(f"`jobs` {request.jobs}: must be at least 1")
    if request.devices and any("device" in run.options for run in runs):
        raise ConfigError(
            f"`devices` {','.join(request.devices)}: {request.plan.file} has a device of its own; "
            "remove one of them"
        )
    jobs = request.jobs or len(request.devices) or 1
    named = request.devices or (None,)
    return [named[index % len(named)] for index in range(jobs)]


def refuse_other_sweep(folder: SweepFolder, runs: Sequence[SweepRun]) -> None:
    """Refuses to go on with runs that were begun with other options; new runs may come in.

    Raises:
        RunError: naming the first one.
    """
    if folder.path.exists() and not folder.path.is_dir():
        raise RunError(f"`out` {folder.path}: is a file; choose a folder")
    known = {run.name: run for run in folder.known_runs()}
    if not known and folder.path.is_dir() and any(_foreign(folder.path)):
        raise RunError(
            f"`out` {folder.path}: is a folder with other files; choose a new or empty folder"
        )
    for run in runs:
        before = known.get(run.name)
        if before is None or _same(run, before):
            continue
        begun = folder.runs / run.name
        if folder.result(run.name)["state"] in (WAITING, FAILED) and not begun.exists():
            continue  # nothing of it was made
        changed = [
            f"{key}: {before.options.get(key)} -> {run.options.get(key)}"
            for key in sorted({*before.options, *run.options})
            if before.options.get(key) != run.options.get(key)
        ]
        raise RunError(
            f"`out` {folder.path}: {run.name} was begun with other options "
            f"({', '.join(changed) or 'another teacher'}); choose another `out`, or remove {begun} "
            f"and {folder.results / run.name}.json"
        )


def _same(run: SweepRun, before: SweepRun) -> bool:
    new, old = asdict(run), asdict(before)
    return all(new[key] == old[key] for key in ("command", "options", "needs"))


def _foreign(path: Path) -> list[Path]:
    own = ("slurm", "runs", "results", "claims", "logs", PLAN, SWEEP)
    return [item for item in path.iterdir() if item.name not in own and item.name[0] != "."]


def write_document(folder: SweepFolder, plan: SweepPlan, runs: Sequence[SweepRun]) -> Json:
    """Writes `sweep.json` and the tables as things are now; returns the former."""
    with folder.alone():
        entries = folder.states(runs)
        rows, differences = table.table_of(entries), table.differences_of(entries)
        document = versioned(
            {
                "plan": str(plan.file),
                "metrics": table.metrics_in(entries),
                "runs": entries,
                "table": rows,
                "differences": differences,
            }
        )
        text = json.dumps(document, indent=2, allow_nan=False)
        write_text(folder.path / SWEEP, f"{text}\n")
        write_text(folder.path / "table.csv", table.as_csv(*table.score_rows(rows)))
        write_text(
            folder.path / "differences.csv", table.as_csv(*table.difference_rows(differences))
        )
        text = table.page(rows, differences, state_of(entries))
        write_text(folder.path / "table.md", text)
    return document


def state_of(entries: Sequence[Json]) -> str:
    """How far the sweep is, in a sentence."""
    done = sum(is_finished(entry) for entry in entries)
    failed = sum(entry["state"] == "failed" for entry in entries)
    return f"{done} of {len(entries)} runs done" + (f", {failed} failed" if failed else "") + "."


def refuse_unfinished(request: SweepRequest, document: Json) -> None:
    """Raises RunError, with the first reason, if a run of the sweep is not done."""
    unfinished = [run for run in document["runs"] if not is_finished(run)]
    if not unfinished:
        return
    first = next((run for run in unfinished if run["error"]), unfinished[0])
    why = first["error"] or first["state"]
    raise RunError(
        f"{request.out}: {state_of(document['runs'])} The first that is not: {first['name']}: "
        f"{why}; the same command tries again"
    )


def show_sweep(document: Json) -> None:
    """Prints the tables."""
    titles, rows = table.long_rows(document["table"])
    console.print_table(titles, rows)
    if document["differences"]:
        titles, rows = table.difference_rows(document["differences"])
        console.print_table(titles, rows, "a - b, paired over seeds: two-sided paired t test")
