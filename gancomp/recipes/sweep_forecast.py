"""`gancomp sweep --dry-run`: the runs of a plan, their steps, and about how long they take here."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from gancomp import console
from gancomp.data.layout import locate, scan
from gancomp.domains.synthesis.contest import NUM_FAKES
from gancomp.engine.device import choose_device
from gancomp.engine.fit import View
from gancomp.errors import WeightsError
from gancomp.launch import unheard
from gancomp.metrics.features import inception_features, load_inception
from gancomp.options import gather, options_for
from gancomp.planning.plan import Plan, make_plan
from gancomp.recipes.distill import train
from gancomp.recipes.sweep import SweepRequest, devices_of
from gancomp.registry import METRICS, resolve
from gancomp.settings import Json, Overrides
from gancomp.sweeping.plan import EVAL
from gancomp.sweeping.runs import SweepRun, runs_of
from gancomp.training.forecast import make_fresh, parts_of, seconds_of
from gancomp.training.steps import make_reader
from gancomp.training.ways import Silent

TRIED = 4  # images that Inception looks at, twice
Say = Callable[[str], None]


def foresee(request: SweepRequest, say: Say) -> Json:
    """The forecast of a request; nothing of the sweep's folder is touched.

    Raises:
        GancompError: for whatever would keep a run from beginning.
    """
    runs = runs_of(request.plan)
    devices = devices_of(request, runs)
    return forecast(runs, devices[0], len(devices), say)


@dataclass(frozen=True)
class Expected:
    """What one run takes: steps, its stages' included, and seconds, None if it was not timed."""

    steps: int
    seconds: float | None


def forecast(runs: Sequence[SweepRun], device: str | None, jobs: int, say: Say) -> Json:
    """Steps and seconds of each run and of all, by a step of each kind that was tried here.

    Runs that differ in their seeds alone take equally long. The teachers that students need are
    stood in for by ones of one step, in a folder that is removed again.

    Args:
        runs: of the plan, teachers before their students.
        device: of the first worker; None: as the runs say.
        jobs: runs at a time.
        say: told what is tried.

    Returns: `runs`, each with `name`, `steps`, `seconds` of training and `score_seconds`;
        `seconds` of all, shared by `jobs`; None where nothing could be timed.

    Raises:
        GancompError: for whatever would keep a run from beginning.
    """
    known: dict[str, Expected] = {}
    kinds = {run.name: _kind(run, runs) for run in runs}
    with tempfile.TemporaryDirectory() as folder:
        for run in runs:
            if kinds[run.name] not in known:
                say(f"{run.name}: trying a step")
                own = list(kinds.values()).index(kinds[run.needs or run.name])
                known[kinds[run.name]] = _expected(run, Path(folder, str(own)), device)
    scores = _seconds_of_scores(runs, device, say)
    rows = [
        {
            "name": run.name,
            "steps": known[kinds[run.name]].steps,
            "seconds": known[kinds[run.name]].seconds,
            "score_seconds": scores.get(run.name),
        }
        for run in runs
    ]
    numbers = [row[key] for row in rows for key in ("seconds", "score_seconds")]
    timed = [number for number in numbers if isinstance(number, float)]
    return {"runs": rows, "jobs": jobs, "seconds": sum(timed) / jobs if timed else None}


def _kind(run: SweepRun, runs: Sequence[SweepRun]) -> str:
    """What decides how long a run takes, as text; its teacher's kind included."""
    teachers = [_kind(other, runs) for other in runs if other.name == run.needs]
    options = {key: value for key, value in run.options.items() if key != "seed"}
    return json.dumps([run.command, options, teachers], sort_keys=True)


def _expected(run: SweepRun, teacher: Path, device: str | None) -> Expected:
    """What a run takes; a teacher is trained for one step in the folder `teacher`."""
    options = dict(run.options) | ({"device": device} if device else {})
    if run.needs is not None:
        options["teacher"] = str(teacher)
    view = Silent()
    plan = make_plan(run.command, overrides(run.command, options), view.say)
    if run.command == "pretrain":
        short = make_plan(run.command, overrides(run.command, options | {"max-steps": 1}), view.say)
        train(replace(short, out=teacher, is_stage=True), view)  # which `runs/latest` does not name
    return _timed(plan, view)


def _timed(plan: Plan, view: View) -> Expected:
    reader, method = make_reader(plan, view), make_fresh(plan, view)
    parts = parts_of(plan, method, reader)
    device = choose_device(plan.settings.run.device)
    taken = [seconds_of(part, reader, view, device=device) for part in parts]
    known = [seconds for seconds in taken if seconds is not None]
    whole = sum(known) if len(known) == len(parts) else None
    return Expected(sum(part.steps for part in parts), whole)


def overrides(command: str, options: Json) -> Overrides:
    """What the command line makes of these options."""
    rows = {option.name.removeprefix("--"): option for option in options_for(command)}
    typed = {rows[name].parameter: rows[name].kind(value) for name, value in options.items()}
    return Overrides(**gather(typed))


def _seconds_of_scores(runs: Sequence[SweepRun], device: str | None, say: Say) -> dict[str, float]:
    """By run, how long Inception looks at what it makes; the reals are with their first run."""
    try:
        inception = load_inception(say=say)
    except WeightsError as error:
        say(f"scores are not timed: {error}")
        return {}
    place = choose_device(device or str(runs[0].options.get("device", "auto")))
    images = torch.randint(0, 256, (TRIED, 299, 299, 3), dtype=torch.uint8).numpy()
    for _ in range(2):
        began = time.perf_counter()
        inception_features(iter(images), inception.to(place), batch_size=TRIED, device=place)
        each = (time.perf_counter() - began) / TRIED
    found: dict[str, float] = {}
    counts: dict[tuple[str, str], int] = {}
    for run in runs:
        for score in run.scores:
            if _looks(score):
                count = _num_images(run, score, counts)
                found[run.name] = found.get(run.name, 0.0) + each * count
    return found


def _looks(score: Json) -> bool:
    """Whether Inception has a part in a score."""
    names = str(score.get("metrics", "")).split(",") if score.get("command", EVAL) == EVAL else []
    return any(resolve(METRICS, "", name.strip()).needs != "pairs" for name in names)


def _num_images(run: SweepRun, score: Json, counts: dict[tuple[str, str], int]) -> int:
    """Images that a score of the run looks at; of the reals, which are kept, the first time."""
    split = str(score.get("fake-split", "test"))
    key = (run.dataset, split)
    if key in counts:
        return counts[key]
    files = scan(
        locate(run.options["dataset"], unheard),
        task=run.options.get("task"),
        say=unheard,
    )
    if files.task == "synthesis":
        counts[key] = int(score.get("num", NUM_FAKES))
        return counts[key] + len(files.train.target) * (2 if score.get("mirror") else 1)
    test = files.test or files.train
    more = len(files.train.source) if split == "all" else 0
    counts[key] = len(test.source) + more
    return counts[key] + len(files.train.target) + len(test.target)


def show_forecast(document: Json) -> None:
    """Prints the runs, their steps and times."""
    rows = [
        [
            row["name"],
            f"{row['steps']:,}",
            *(
                console.duration(row[key]) if row[key] is not None else "not timed"
                for key in ("seconds", "score_seconds")
            ),
        ]
        for row in document["runs"]
    ]
    console.print_table(["run", "steps", "training", "scores"], rows)
    whole = document["seconds"]
    console.say(
        f"{len(rows)} runs, {sum(row['steps'] for row in document['runs']):,} steps; about "
        f"{console.duration(whole) if whole is not None else 'an unknown time'} with "
        f"{document['jobs']} at a time, by steps and images tried here"
    )
