"""What a sweep's TOML file says, checked: datasets, seeds, methods and options by their names.

```toml
seeds = [0, 1, 2]
datasets = ["horse2zebra"]       # or tables [datasets.NAME] of options, dataset = FOLDER among them

[common]                         # options of pretrain and distill, as on the command line
size = 64

[teacher]                        # of pretrain: one teacher for all runs that ask for an equal one
max-steps = 400

[student]                        # of distill; the teacher above is given to it by --teacher
freeze-teacher = true            # teacher = false: this one has none

[methods.output-only]            # one table per method, named as you like
method = "gan-compression"
lambda-distill = 0

[methods.output-only.edges2zebras]   # further ones on that dataset alone
lambda-recon = 100

[grid.student]                   # any option of common, teacher or student: one run per value
ratio = [0.25, 0.5]

[score]                          # options of eval, for every run; [[score]] for several
metrics = ["fid", "kid"]

[[score]]                        # or those of eval-sr
command = "eval-sr"
dataset = "Set5"
```
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gancomp.declare import Option
from gancomp.errors import ConfigError
from gancomp.options import options_for
from gancomp.registry import METRICS
from gancomp.settings import Json

KEYS = ("seeds", "datasets", "common", "teacher", "student", "methods", "grid", "score", "slurm")
SECTIONS = ("common", "teacher", "student")
GIVEN = ("out", "resume", "seed", "dataset", "json")  # what the sweep itself gives to every run
NAME = re.compile(r"[\w.+-]+")  # names of methods and datasets become names of folders
TEACHER = "teacher"
EVAL, EVAL_SR = "eval", "eval-sr"  # what scores a run: a table's `command`
Kinds = Mapping[str, Mapping[str, type]]


@dataclass(frozen=True)
class SweepPlan:
    """A plan that could be read.

    Attributes:
        file: where it stands.
        datasets: by name, the options of every run on it; `dataset` is the folder.
        seeds: of every method on every dataset.
        common: options of teachers and students.
        teacher: further options of `pretrain`; None where no teacher is trained before.
        student: further options of `distill`.
        methods: by name, further options of `distill`; a table among them is one dataset's alone.
        grid: by section, the values of options that are varied.
        scores: options of `eval`, or of the `command` among them, one table per pass.
        slurm: submitit's parameters, and its `cluster`.
    """

    file: Path
    datasets: dict[str, Json]
    seeds: tuple[int, ...]
    common: Json
    teacher: Json | None
    student: Json
    methods: dict[str, Json]
    grid: dict[str, dict[str, list[Any]]]
    scores: tuple[Json, ...]
    slurm: Json


def read_plan(file: Path, scoring: Kinds) -> SweepPlan:
    """The plan in `file`.

    Args:
        file: TOML.
        scoring: by command, the options of a score by name, with the kinds of their values.

    Raises:
        ConfigError: naming the file and all keys that are wrong.
    """
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: is not valid TOML ({error}); fix that line") from error
    reader = _Reader(scoring)
    plan = reader.plan(file, values)
    if reader.problems:
        raise ConfigError(f"{file}: {'; '.join(reader.problems)}")
    return plan


class _Reader:
    """Reads the tables and gathers what is wrong with them."""

    def __init__(self, scoring: Kinds) -> None:
        self.problems: list[str] = []
        self.scoring = scoring
        self.pretrain = {
            option.name.removeprefix("--"): option for option in options_for("pretrain")
        }
        self.distill = {option.name.removeprefix("--"): option for option in options_for("distill")}

    def plan(self, file: Path, values: Json) -> SweepPlan:
        """The whole plan; of no use if there are problems."""
        for key in values:
            if key not in KEYS:
                self.problems.append(f"{key}: is no key of a plan{_meant(key, KEYS)}")
        sections = {name: self.table(values, name) for name in SECTIONS}
        self.options(sections["common"], "common", {**self.pretrain})
        self.options(sections["teacher"], "teacher", self.pretrain)
        self.options(sections["student"], "student", self.distill)
        datasets = self.datasets(values.get("datasets"))
        return SweepPlan(
            file,
            datasets=datasets,
            seeds=self.seeds(values.get("seeds")),
            common=sections["common"],
            teacher=sections["teacher"] if "teacher" in values else None,
            student=sections["student"],
            methods=self.methods(self.table(values, "methods"), datasets),
            grid=self.grid(self.table(values, "grid"), with_teacher="teacher" in values),
            scores=self.scores(values.get("score", [])),
            slurm=self.table(values, "slurm"),
        )

    def table(self, values: Json, name: str) -> Json:
        """The table called so, empty if there is none."""
        found = values.get(name, {})
        if isinstance(found, dict):
            return found
        self.problems.append(f"{name}: should be a table, [{name}]")
        return {}

    def seeds(self, found: Any) -> tuple[int, ...]:
        """Whole numbers, none twice."""
        whole = isinstance(found, list) and all(_is(seed, int) and seed >= 0 for seed in found)
        if not whole or not found or len(set(found)) < len(found):
            self.problems.append("seeds: should be whole numbers, each once, as in [0, 1, 2]")
            return ()
        return tuple(found)

    def datasets(self, found: Any) -> dict[str, Json]:
        """Options by the dataset's name."""
        if isinstance(found, list) and found and all(_is(item, str) and item for item in found):
            named: dict[str, Any] = {Path(item).name: {"dataset": item} for item in found}
            if len(named) < len(found):
                self.problems.append("datasets: two have one name; write them as [datasets.NAME]")
        elif isinstance(found, dict) and found:
            named = {}
            for name, options in found.items():
                where = f"datasets.{name}"
                if not isinstance(options, dict):
                    self.problems.append(f"{where}: should be a table, [{where}]")
                    continue
                named[name] = {"dataset": name} | options
                own = {key: value for key, value in options.items() if key != "dataset"}
                self.options(own, where, self.pretrain)
                if not _is(named[name]["dataset"], str):
                    self.problems.append(f"{where}.dataset: should be text, a folder or a name")
        else:
            self.problems.append('datasets: should name some, as in ["horse2zebra"]')
            return {}
        self.names("datasets", named)
        return named

    def methods(self, found: Json, datasets: Iterable[str]) -> dict[str, Json]:
        """Options by the name that the plan gives to a method."""
        if not found:
            self.problems.append("methods: needs one table or more, as [methods.dcd]")
        for name, options in found.items():
            where = f"methods.{name}"
            if name == TEACHER:
                self.problems.append(f"{where}: this name is the teacher's; choose another")
            if isinstance(options, dict):
                own = {key: item for key, item in options.items() if key in datasets}
                for dataset in own:
                    self.options(self.table(own, dataset), f"{where}.{dataset}", self.distill)
                rest = {key: item for key, item in options.items() if key not in own}
                self.options(rest, where, self.distill)
            else:
                self.problems.append(f"{where}: should be a table, [{where}]")
        self.names("methods", found)
        return {name: options for name, options in found.items() if isinstance(options, dict)}

    def names(self, where: str, found: Iterable[str]) -> None:
        """Refuses names that are none of a folder."""
        for name in found:
            if not NAME.fullmatch(name) or name.startswith("."):
                self.problems.append(f"{where}.{name}: use letters, digits and . _ + - in names")

    def grid(self, found: Json, *, with_teacher: bool) -> dict[str, dict[str, list[Any]]]:
        """Lists of values, by section and option."""
        known = {"common": self.pretrain, "teacher": self.pretrain, "student": self.distill}
        for section, options in found.items():
            where = f"grid.{section}"
            if section not in known:
                self.problems.append(f"{where}: is none of {', '.join(known)}")
            elif not isinstance(options, dict):
                self.problems.append(f"{where}: should be a table, [{where}]")
            elif section == TEACHER and not with_teacher:
                self.problems.append(f"{where}: there is no [teacher] to vary")
            else:
                for name, values in options.items():
                    self.values(f"{where}.{name}", name, values, known[section])
        return found

    def values(self, where: str, name: str, values: Any, known: Mapping[str, Option]) -> None:
        """Checks one list of the grid."""
        if not isinstance(values, list) or not values:
            self.problems.append(f"{where}: should be a list of values, as [1, 2]")
            return
        if len({str(value) for value in values}) < len(values):
            self.problems.append(f"{where}: has a value twice")
        for value in values:
            self.options({name: value}, where.rpartition(".")[0], known)

    def options(self, options: Json, where: str, known: Mapping[str, Option]) -> None:
        """Checks names and kinds of what is given to a command."""
        for name, value in options.items():
            key = f"{where}.{name}"
            if name == TEACHER and "ratio" in known:
                if value is not False and not _is(value, str):
                    self.problems.append(f"{key}: should be false, a file or a run")
            elif name in GIVEN:
                self.problems.append(f"{key}: is given to each run by the sweep; remove it")
            elif name not in known:
                belongs = name in self.distill
                hint = "; it belongs in [student]" if belongs else _meant(name, known)
                self.problems.append(f"{key}: is no option here{hint}")
            elif problem := _problem(value, known[name].kind, known[name].choices):
                self.problems.append(f"{key}: {problem}")

    def scores(self, found: Any) -> tuple[Json, ...]:
        """The tables of options, one per pass."""
        several = found if isinstance(found, list) else [found]
        if not several:
            self.problems.append('score: is needed, as [score] with metrics = ["fid"]')
        scores = tuple(self.score(score) for score in several)
        if any(score in scores[:place] for place, score in enumerate(scores)):
            self.problems.append("score: two tables are equal; remove one of them")
        return scores

    def score(self, found: Any) -> Json:
        """Checks the options of one pass of `eval` or `eval-sr`."""
        if not isinstance(found, dict):
            self.problems.append("score: should be a table, [score]")
            return {}
        command = found.get("command", EVAL)
        if command not in self.scoring:
            self.problems.append(f"score.command: is none of {', '.join(self.scoring)}")
            return {}
        options: Json = dict(found)
        if command == EVAL:
            options["metrics"] = self.metrics(found.get("metrics", "fid"))
        elif "dataset" not in found:
            self.problems.append(f'score.dataset: {command} needs one, as dataset = "Set5"')
        known = self.scoring[command]
        for name, value in options.items():
            if name in ("json", "model"):
                self.problems.append(f"score.{name}: is given by the sweep; remove it")
            elif name == "command":
                continue
            elif name not in known:
                self.problems.append(
                    f"score.{name}: is no option of {command}{_meant(name, known)}"
                )
            elif problem := _problem(value, known[name], ()):
                self.problems.append(f"score.{name}: {problem}")
        return options

    def metrics(self, listed: Any) -> str:
        """Names of metrics with commas, as they are typed; the plan may list them."""
        names = [str(name) for name in listed] if isinstance(listed, list) else [str(listed)]
        text = ",".join(names)
        if unknown := [name for name in text.split(",") if name.strip() not in METRICS]:
            self.problems.append(
                f"score.metrics: {', '.join(unknown)}: is none of {', '.join(METRICS)}"
            )
        return text


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and isinstance(value, bool) == (kind is bool)


def _problem(value: Any, kind: type, choices: tuple[str, ...]) -> str:
    """Why the value is none of an option's, empty if it may be."""
    if kind is bool:
        return "" if _is(value, bool) else "should be true or false"
    if kind is int:
        return "" if _is(value, int) else "should be a whole number"
    if kind is float:
        return "" if _is(value, int) or _is(value, float) else "should be a number"
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return "should be text"
    if choices and value not in choices:
        return f"is none of {', '.join(map(str, choices))}"
    return ""


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name.replace("_", "-"), list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
