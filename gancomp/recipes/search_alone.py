"""A search without a run behind it: for `gancomp shrink`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gancomp.engine.fit import View
from gancomp.engine.run import CONFIG, read_config, writing_run
from gancomp.engine.stopping import listening_for_stop
from gancomp.errors import ConfigError, RunError
from gancomp.export.model import open_model
from gancomp.inference.models import teacher_file
from gancomp.planning.plan import make_plan
from gancomp.planning.shrinking import REACHED, Way, load_initial, refuse_other_task
from gancomp.settings import Json, NetworkSettings, Overrides
from gancomp.shrink.base import Shrunk
from gancomp.sizes import Size, sides
from gancomp.training.searching import find_shape
from gancomp.training.steps import describe_run

SUFFIX = "-search"  # of the folder beside the file
SECTIONS = ("data", "discriminator", "optimizer")  # that a run hands on


@dataclass(frozen=True)
class ShrinkWanted:
    """What `gancomp shrink` was asked for.

    Attributes:
        model: a model file, or a run, whose teacher it is.
        by: the way to shrink, by name.
        budget: as typed.
        out: the file to write, `.safetensors`.
        size: of the images; by default what the model was trained for.
        device: where milliseconds are measured.
        part: network of a file that holds several.
        options: the shrinker's own.
        seed: of the weights, where the way to shrink gives none, and of a search; by default 0, or
            what a search was begun with.
        dataset: whose training images a search works on; by default the run's.
        task: paired or unpaired, where the dataset's folders leave a doubt; by default the model's.
        resume: go on with the search that was begun for `out`.
        perceptual: where a search that compares features has them from; see `load_perceptual`.
        vgg: file of their weights.
    """

    model: Path
    by: str
    budget: str
    out: Path
    size: Size | None = None
    device: str = "auto"
    part: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    dataset: str | None = None
    task: str | None = None
    resume: bool = False
    perceptual: str | None = None
    vgg: Path | None = None

    @property
    def features(self) -> Json:
        """The section `perceptual` of the settings, as far as it was asked for."""
        given = {"source": self.perceptual, "file": None if self.vgg is None else str(self.vgg)}
        return {name: value for name, value in given.items() if value is not None}


def searched(wanted: ShrinkWanted, way: Way, size: Size, view: View) -> tuple[Shrunk, int]:
    """The student that a search finds, in a folder beside the file that it goes to, and its seed.

    Args:
        wanted: as asked for.
        way: that searches.
        size: of the images.
        view: shows the progress.

    Raises:
        ConfigError: if there are no images to search on, or the search finds nothing.
        RunError: if such a search was begun already, or there is none to go on with.
        InterruptedRunError: after a signal, when all was saved.
    """
    folder = wanted.out.with_name(wanted.out.stem + SUFFIX)
    _refuse_other_sitting(wanted, folder)
    if wanted.part is not None:
        raise ConfigError(
            f"`part` {wanted.part}: a search takes a file of one network; write one with gancomp "
            "export, which has that option"
        )
    model = open_model(teacher_file(str(wanted.model)))
    refuse_other_task(way, model.header.get("task"))
    arch = None
    if not wanted.resume and getattr(way.shrinker, "finds", None) is None:
        arch = model.network.arch
    given = Overrides(
        settings=_settings(wanted, size),
        out=folder,
        resume=wanted.resume,
        student_arch=arch,
        shrink=wanted.by,
        budget=wanted.budget,
        shrink_options=dict(wanted.options),
    )
    plan = make_plan("distill", given, view.say)
    seed = plan.settings.run.seed
    if plan.search is not None:
        plan = replace(plan, search=replace(plan.search, asked=way.asked))
    with listening_for_stop() as stop, writing_run(folder, resume=plan.resume) as run:
        if plan.search is None:
            return _found_before(plan.settings.student, plan.shrink or {}, folder), seed
        config = describe_run(plan, None)
        found = find_shape(plan, run, config, view, stop=stop)
        if found.shrunk is None:
            raise ConfigError(f"`max_time`: {way.asked} was out of time")
        run.write_config(describe_run(found.plan, None))
    return found.shrunk, seed


def _refuse_other_sitting(wanted: ShrinkWanted, folder: Path) -> None:
    """Refuses to begin a search anew, or to go on with none."""
    begun = (folder / CONFIG).exists()
    if begun and not wanted.resume:
        raise RunError(
            f"`out` {wanted.out}: a search for it was begun in {folder}; go on with "
            "`resume=True`, or choose another `out`"
        )
    if wanted.resume and not begun:
        raise RunError(
            f"`resume`: no search was begun for `out` {wanted.out} in {folder}; remove "
            "`resume=True`"
        )
    if begun:
        _refuse_other_model(wanted, folder)


def _refuse_other_model(wanted: ShrinkWanted, folder: Path) -> None:
    source = read_config(folder).get("settings.teacher.source", str)
    if teacher_file(source).resolve() != teacher_file(str(wanted.model)).resolve():
        raise ConfigError(
            f"{wanted.model}: the search for `out` {wanted.out} was begun with {source}; give "
            "that, or choose another `out`"
        )


def _found_before(student: NetworkSettings | None, shrink: Json, folder: Path) -> Shrunk:
    assert student is not None
    of_run = ("by", "budget", "options", REACHED)
    found = {key: value for key, value in shrink.items() if key not in of_run}
    return Shrunk(student, load_initial(folder), found)


def _settings(wanted: ShrinkWanted, size: Size) -> Json:
    """What the run has of data and objective, with what was given instead."""
    run: dict[str, Any] = {"seed": wanted.seed or 0, "device": wanted.device}
    if wanted.resume:  # make_plan refuses what would change it
        given: Json = {"run": {"device": wanted.device}}
        if wanted.features:
            given["perceptual"] = wanted.features
        data = {"dataset": wanted.dataset, "task": wanted.task, "size": wanted.size}
        given["data"] = {name: value for name, value in data.items() if value is not None}
        if wanted.seed is not None:
            given["run"]["seed"] = wanted.seed
        return given
    settings: Json = {"teacher": {"source": str(wanted.model)}, "run": run}
    if wanted.features:
        settings["perceptual"] = wanted.features
    if (wanted.model / CONFIG).exists():
        saved = read_config(wanted.model).get("settings", dict)
        settings |= {name: saved[name] for name in SECTIONS if saved.get(name)}
        settings["adversarial"] = {"gan": saved["adversarial"]["gan"]}
        run["workers"] = saved.get("run", {}).get("workers", 2)
    header = open_model(teacher_file(str(wanted.model))).header
    purpose = {name: header[name] for name in ("task", "direction") if header.get(name)}
    data = purpose | settings.get("data", {})
    given = {"dataset": wanted.dataset, "task": wanted.task}
    data |= {name: value for name, value in given.items() if value is not None}
    if "dataset" not in data:
        raise ConfigError(
            f"`by` {wanted.by}: searches on images; give `dataset`, or a run instead of a file"
        )
    if tuple(sides(size)) != tuple(sides(data.get("size", size))):
        data.pop("load_size", None)
    height, width = sides(size)
    data["size"] = height if height == width else [height, width]
    return settings | {"data": data}
