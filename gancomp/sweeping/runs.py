"""The runs of a plan, in the order in which they are taken up, each as a command."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gancomp.options import options_for
from gancomp.settings import Json
from gancomp.sweeping.plan import EVAL, TEACHER, SweepPlan

ONE_WAY = ("strict", "recursive")  # switches of scores that cannot be typed as off


@dataclass(frozen=True)
class SweepRun:
    """One run.

    Attributes:
        name: of its folder, no other run's in the sweep.
        command: `pretrain` or `distill`.
        dataset: its name in the plan.
        method: the same; `teacher` for a teacher.
        seed: its seed.
        varied: the grid's values that it has, by `section.option`.
        options: as on the command line, without dashes.
        needs: name of the run that trains its teacher.
        scores: options of `eval`, or of the `command` among them, one table per pass.
    """

    name: str
    command: str
    dataset: str
    method: str
    seed: int
    varied: Json
    options: Json
    needs: str | None
    scores: list[Json]

    def words(self, runs: Path) -> list[str]:
        """The command line that trains it, in the folder of `runs`, without `gancomp`."""
        options = dict(self.options)
        if self.needs is not None:
            options["teacher"] = str(runs / self.needs)
        return [self.command, *words(self.command, options), "--out", str(runs / self.name)]

    def score_words(self, runs: Path, score: Json) -> list[str]:
        """The command line of one of its scores."""
        model = "teacher.safetensors" if self.command == "pretrain" else "student.safetensors"
        device = {"device": self.options["device"]} if "device" in self.options else {}
        asked = {name: value for name, value in score.items() if name != "command"}
        options = plain_words(
            device | {name: value for name, value in asked.items() if name not in ONE_WAY or value}
        )
        command = score.get("command", EVAL)
        return [command, str(runs / self.name / model), *options, "--json"]


def words(command: str, options: Json) -> list[str]:
    """Options as they are typed; switches by the name that says on or off."""
    flags = {option.name.removeprefix("--"): option.flag for option in options_for(command)}
    found: list[str] = []
    for name, value in options.items():
        on, _, off = flags[name].partition("/")
        found += [on if value else off] if isinstance(value, bool) else [on, str(value)]
    return found


def plain_words(options: Json) -> list[str]:
    """Options of a command whose switches are `--x` and `--no-x`."""
    found: list[str] = []
    for name, value in options.items():
        if isinstance(value, bool):
            found.append(f"--{name}" if value else f"--no-{name}")
        else:
            found += [f"--{name}", str(value)]
    return found


def runs_of(plan: SweepPlan) -> list[SweepRun]:
    """All runs: dataset by dataset, seed by seed, so that methods can soon be compared.

    Runs that ask for an equal teacher share it: it stands before the first of them.
    """
    found: dict[str, SweepRun] = {}
    teachers: dict[str, str] = {}  # options as text -> name of the run
    for dataset, seed in itertools.product(plan.datasets, plan.seeds):
        for method, varied in itertools.product(plan.methods, _points(plan)):
            student, teacher = _pair(plan, dataset, seed, method, varied)
            if teacher is not None:
                key = json.dumps(teacher.options, sort_keys=True)
                name = teachers.setdefault(key, teacher.name)
                found.setdefault(name, teacher)
            needs = teachers[key] if teacher is not None else None
            found[student.name] = SweepRun(**{**vars(student), "needs": needs})
    return list(found.values())


def _points(plan: SweepPlan) -> Iterator[Json]:
    """The grid's combinations, by `section.option`; one empty one without a grid."""
    axes = {
        f"{section}.{name}": values
        for section, options in plan.grid.items()
        for name, values in options.items()
    }
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _pair(
    plan: SweepPlan, dataset: str, seed: int, method: str, varied: Json
) -> tuple[SweepRun, SweepRun | None]:
    """The student's run, and its teacher's if the plan trains one for it."""
    ours = {"seed": seed}
    common = plan.common | plan.datasets[dataset] | _of(varied, "common") | ours
    own = plan.methods[method]
    method_options = {key: item for key, item in own.items() if key not in plan.datasets}
    options = common | plan.student | method_options | own.get(dataset, {})
    options |= _of(varied, "student")
    given = options.pop(TEACHER, None)
    if given:
        options[TEACHER] = given
    scores = list(plan.scores)
    start = f"{dataset}-s{seed}"
    student = SweepRun(
        f"{start}-{method}{_suffix(varied)}",
        "distill",
        dataset,
        method,
        seed,
        varied,
        options,
        None,
        scores,
    )
    if plan.teacher is None or given is not None:
        return student, None
    own = {key: value for key, value in varied.items() if not key.startswith("student.")}
    teacher = SweepRun(
        f"{start}-{TEACHER}{_suffix(own)}",
        "pretrain",
        dataset,
        TEACHER,
        seed,
        own,
        common | plan.teacher | _of(varied, TEACHER),
        None,
        [score for score in scores if score.get("pairs") != TEACHER],  # that it is itself
    )
    return student, teacher


def _of(varied: Json, section: str) -> Json:
    own = f"{section}."
    return {key.removeprefix(own): item for key, item in varied.items() if key.startswith(own)}


def _suffix(varied: Json) -> str:
    return "".join(f"-{key.replace('.', '-')}-{_slug(value)}" for key, value in varied.items())


def _slug(value: Any) -> str:
    return "".join(char if char.isalnum() or char in ".+_" else "_" for char in str(value))
