"""A student's shape that is searched for by training: a stage of its own before the run.

What the search trains has checkpoints below the run's `stages/search`, and what it looks at is in
`search.jsonl` there: a search that was killed goes on exactly.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from gancomp.data.loader import steps_per_epoch
from gancomp.domains.stage import FOLDER
from gancomp.engine.checkpoint import load_newest, remove_leftovers
from gancomp.engine.device import choose_device
from gancomp.engine.fit import Loop, Outcome, View, fit
from gancomp.engine.run import RunFolder
from gancomp.engine.stopping import InterruptedRunError, StopWish
from gancomp.errors import ConfigError
from gancomp.export.native import save_model
from gancomp.files import reporting_disk_errors, write_text
from gancomp.losses.perceptual import PerceptualFeatures
from gancomp.networks.base import TappedNetwork
from gancomp.planning import shrinking
from gancomp.planning.checks import check
from gancomp.planning.plan import Plan
from gancomp.planning.teachers import refuse_lone_generator
from gancomp.records import read_record, versioned
from gancomp.seeding import derive_generator
from gancomp.settings import Json, NetworkSettings, ScheduleSettings, SelectionSettings, Settings
from gancomp.shrink.base import Search, Searcher, SearchSetup, Shrunk, searches
from gancomp.shrink.budget import TIMES
from gancomp.shrink.candidates import FILE, Candidates
from gancomp.shrink.kept import KeptLines
from gancomp.sizes import sides
from gancomp.tasks.base import Task, new_network
from gancomp.training.judging import held_out_images, make_judge, no_score
from gancomp.training.steps import (
    batches_from,
    images_per_step,
    make_reader,
    make_task,
    make_teacher,
    open_features,
)
from gancomp.training.tuning import Tuning
from gancomp.training.ways import PLAIN, use_way

NAME = "search"
PERCEPTUAL = "perceptual.json"  # in the stage: which weights its losses look through


class OutOfTimeError(Exception):
    """The time that the run may take is over; what was looked at is kept."""


@dataclass(frozen=True)
class Found:
    """How far a search came.

    Attributes:
        plan: the run's, with the student that was found.
        shrunk: that student; None if the time was over before.
        outcome: of the search's training.
    """

    plan: Plan
    shrunk: Shrunk | None
    outcome: Outcome


def find_shape(
    plan: Plan,
    run: RunFolder,
    config: Json,
    view: View,
    *,
    stop: StopWish,
    fits: Callable[[Plan], object] = lambda plan: None,
) -> Found:
    """Searches for the student that the plan asks for, or goes on with that.

    Args:
        plan: with a search.
        run: its folder, opened for writing; nothing is written before all was checked.
        config: of `config.json`, which tells a later sitting that there is a search to go on with.
        view: shows the progress.
        stop: somebody's wish to stop.
        fits: given the plan with the widest student that may be found, refuses what the run could
            not train.

    Raises:
        ConfigError: if the search cannot work here, or finds nothing.
        InterruptedRunError: after a signal, when all was saved.
    """
    began = time.perf_counter()
    folder = RunFolder(run.path / FOLDER / NAME)
    device = choose_device(plan.settings.run.device)
    inner = searching_plan(plan)
    targets = sorted({*plan.files.train.target} - {*inner.files.train.target})
    features = Features(plan.settings, view)
    times = KeptLines(folder.path / TIMES)
    search, loop = make_search(
        inner, folder, view, device=device, targets=targets, features=features, times=times
    )
    refuse_unfit(plan, search, fits)
    judge = make_judge(inner, device, view.say)  # before hours of training: it may lack weights
    if not plan.resume:
        run.write_config(config)
    with reporting_disk_errors(folder.path):
        folder.checkpoints.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder.checkpoints)
    times.write()
    features.keep(folder.path / PERCEPTUAL)
    outcome = Outcome()
    try:
        if loop is not None:
            outcome = _trained(loop, folder, view, stop)
        scored = judge is not no_score or loop is None  # which tunes and scores each by itself
        pause = partial(_pause, stop, began, plan.settings.schedule.max_seconds)
        candidates = Candidates(folder.path / FILE, view.say, pause, scored=scored)
        shrunk = search.choose(judge, candidates)
    except OutOfTimeError:
        view.say(f"stage {NAME}: out of time; go on with `resume=True`")
        return Found(plan, None, outcome)
    tell_candidates(candidates, shrunk, folder, view.say, measure=_measure(plan))
    save_others(plan, shrunk, folder.path, view.say)
    if shrunk.weights is not None:
        shrinking.save_initial(run.path, shrunk.weights)
    return Found(with_student(plan, shrunk, time.perf_counter() - began), shrunk, outcome)


def _trained(loop: Loop, folder: RunFolder, view: View, stop: StopWish) -> Outcome:
    total = loop.total_steps()
    view.say(f"stage {NAME}: {total} steps in {folder.path}, then the choice")
    outcome = fit(loop, checkpoint=load_newest(folder.checkpoints, view.say), stop=stop)
    if outcome.step < total:
        raise OutOfTimeError
    return outcome


def refuse_unfit(plan: Plan, search: Search, fits: Callable[[Plan], object]) -> None:
    """Refuses a search for students of a kind that the run's method cannot train.

    Raises:
        ConfigError: saying why.
    """
    widest: NetworkSettings | None = getattr(search, "widest", None)
    if widest is None:
        return
    assert plan.search is not None
    try:
        fits(with_student(plan, Shrunk(widest)))
    except ConfigError as error:
        raise ConfigError(
            f"{plan.search.asked}: {plan.settings.method.name} could not train what it finds "
            f"({error}); choose another way to shrink, or another `method`"
        ) from error


class Features:
    """Opens the network of a search's perceptual losses, which must stay the same one.

    Attributes:
        describe: what was opened, if anything.
    """

    def __init__(self, settings: Settings, view: View) -> None:
        self.settings, self.view = settings, view
        self.describe: Json | None = None

    def __call__(self, taps: Sequence[str]) -> PerceptualFeatures | None:
        """The network with these taps; None if the run does without."""
        found = open_features(self.settings, self.view, taps)
        self.describe = None if found is None else dict(found.describe)
        return found

    def keep(self, file: Path) -> None:
        """Writes what was opened, or compares it with what is there.

        Raises:
            ConfigError: if the search was begun with other weights.
        """
        if self.describe is None:
            return
        if not file.exists():
            write_text(file, json.dumps(versioned(self.describe), indent=2) + "\n")
            return
        saved = read_record(file, way_out="choose another `out` for a new search").values
        # the file may have another name by now; its checksum counts
        if versioned(self.describe) | {"file": None} != saved | {"file": None}:
            raise ConfigError(
                "`resume`: the search was begun with other perceptual weights "
                f"({saved.get('file', saved.get('source'))}); give the same `vgg`"
            )


def save_others(plan: Plan, shrunk: Shrunk, folder: Path, say: Callable[[str], None]) -> None:
    """Writes what was found beside the student, `NAME.safetensors` each."""
    height, width = sides(plan.settings.data.size)
    for name, other in shrunk.others.items():
        network = new_network(other.student, plan.settings.run.seed, name)
        if other.weights is not None:
            shrinking.fill(network, other.weights)
        save_model(
            folder / f"{name}.safetensors",
            network,
            role="student",
            task=plan.settings.data.task,
            step=0,
            method=None,
            dataset=plan.files.name,
            input_size=(height, width),
        )
        say(f"found beside it: {folder / name}.safetensors")


def _pause(stop: StopWish, began: float, max_seconds: float | None) -> None:
    if stop:
        raise InterruptedRunError("stopped in the search; go on with `resume=True`")
    if max_seconds is not None and time.perf_counter() - began >= max_seconds:
        raise OutOfTimeError


def with_student(plan: Plan, shrunk: Shrunk, seconds: float = 0.0) -> Plan:
    """The plan with what was found, of its time what is left."""
    settings, limit = plan.settings, plan.settings.schedule.max_seconds
    if limit is not None:
        schedule = replace(settings.schedule, max_seconds=max(1.0, limit - seconds))
        settings = replace(settings, schedule=schedule)
    settings = replace(settings, student=shrunk.student)
    check(settings)
    found = (plan.shrink or {}) | shrunk.found | {shrinking.REACHED: True}
    return replace(plan, settings=settings, shrink=found, initial=shrunk.weights, search=None)


def searching_plan(plan: Plan) -> Plan:
    """The plan of the search's training: some images held out, the length its own."""
    way, settings = plan.search, plan.settings
    assert way is not None
    assert searches(way.shrinker)
    number = getattr(way.shrinker.options, "search_held_out", 0)
    # what is chosen by scores must not be trained on; where there are none, all is trained on
    selection = SelectionSettings()
    if number:
        selection = replace(selection, select="held-out", held_out=_held_out(plan, number))
    # of the search's own some say what a phase has for itself
    inner = replace(
        plan, settings=replace(settings, selection=selection), options=way.shrinker.options
    )
    if plan.files.paired or not getattr(way.shrinker, "judges_both_ways", False):
        return inner
    return _without_some_targets(inner, number)


def _held_out(plan: Plan, number: int) -> int:
    """As many as were asked for; half of the images, if these are few."""
    return max(1, min(number, len(plan.files.train.source) // 2))


def _without_some_targets(plan: Plan, number: int) -> Plan:
    """The plan without that many targets; without half of them, if they are few."""
    train = plan.files.train
    generator = derive_generator(plan.settings.run.seed, "held-out", "targets")
    order = torch.randperm(len(train.target), generator=generator).tolist()
    kept = sorted(order[max(1, min(number, len(order) // 2)) :])
    target = tuple(train.target[index] for index in kept)
    return replace(plan, files=replace(plan.files, train=replace(train, target=target)))


def make_search(
    plan: Plan,
    folder: RunFolder,
    view: View,
    *,
    device: torch.device,
    targets: Sequence[Path] = (),
    features: Features,
    times: KeptLines,
) -> tuple[Search, Loop | None]:
    """The search with its networks, and the loop that trains them, if there is one.

    Args:
        plan: of the search, with images held out.
        folder: of the stage.
        view: shows the progress.
        device: where to compute.
        targets: held out beside the sources.
        features: opens the network of its perceptual losses.
        times: that were measured in an earlier sitting, and will be.
    """
    settings, way = plan.settings, plan.search
    assert way is not None
    assert searches(way.shrinker)
    reader = make_reader(plan, view)
    epoch = steps_per_epoch(reader, images_per_step(plan))
    steps = search_steps(settings, way.shrinker, epoch)
    request = shrinking.request_of(settings, way, shrinking.opener(settings), view.say)
    shown = batches_from(plan, reader, view, device)
    setup = SearchSetup(
        request,
        teacher_task=partial(_teacher_task, settings, way.asked),
        fresh_task=lambda generator: _fresh_task(settings, generator),
        optimizer=settings.optimizer,
        seed=settings.run.seed,
        paired=plan.files.paired,
        steps=steps,
        train=Tuning(shown, steps, settings.run, device, view.say).train,
        held_out=partial(held_out_images, plan, targets, device, view.say),
        features=features,
        times=times,
    )
    search: Search = way.shrinker.begin(setup)
    if search.method is None:
        return search, None
    method = search.method.to(device)
    method.check_size(settings.data.size)
    use_way(method, device, PLAIN, precision=settings.run.precision, say=view.say)
    return search, Loop(
        method=method,
        run=folder,
        settings=settings.run,
        schedule=search_schedule(settings.schedule, steps, epoch),
        device=device,
        steps_per_epoch=epoch,
        batches=shown,
        periodic=[],
        saved=lambda step: None,
        view=view,
    )


def search_steps(settings: Settings, shrinker: Searcher, epoch: int) -> int:
    """As many as were asked for, or the search's share of the run's."""
    if shrinker.options.search_steps is not None:
        return int(shrinker.options.search_steps)
    whole = settings.schedule
    epochs = whole.epochs + whole.decay_epochs
    of_run = whole.total_steps(num_epochs=epochs, steps_per_epoch=epoch)
    return max(1, round(shrinker.length * of_run))


def search_schedule(whole: ScheduleSettings, steps: int, epoch: int) -> ScheduleSettings:
    """The run's, stretched to another length: its rate falls in the same share of it."""
    epochs = max(1, -(-steps // epoch))
    constant = whole.epochs / (whole.epochs + whole.decay_epochs)
    decay = epochs - round(constant * epochs)
    return replace(whole, epochs=epochs - decay, decay_epochs=decay, max_steps=steps)


def _teacher_task(settings: Settings, asked: str, *, whole: bool = False) -> Task:
    """Around the given teacher, which stays as it is."""
    method = replace(settings.method, name="dmad" if whole else "gan-compression")
    frozen = replace(settings, teacher=replace(settings.teacher, freeze=True), method=method)
    refuse_lone_generator(frozen, asked)
    return make_task(frozen, make_teacher(frozen, resume=False), resume=False)


def _fresh_task(settings: Settings, generator: TappedNetwork) -> Task:
    teacher = replace(settings.teacher, source=None, freeze=False)
    return make_task(replace(settings, teacher=teacher), generator, resume=False)


def _measure(plan: Plan) -> str:
    """What the budget limits; a plug-in's may be of another kind."""
    return str(getattr(plan.search and plan.search.budget, "measure", "macs"))


def tell_candidates(
    candidates: Candidates,
    shrunk: Shrunk,
    folder: RunFolder,
    say: Callable[[str], None],
    *,
    measure: str = "macs",
) -> None:
    """The front of what was looked at, in words and as a picture."""
    front = candidates.front()
    if not front or not candidates.scored:
        return
    for item in front[-8:]:
        widths = "_".join(map(str, item.shape))
        macs = item.measures.get("macs", 0) / 1e9
        say(f"  front: {macs:.4g}G MACs, score {item.score:.4g}, {widths}")
    try:
        from gancomp.training.search_picture import draw_search

        say(f"picture: {draw_search(candidates, shrunk, folder.path, measure=measure)}")
    except ConfigError as error:
        say(f"no picture of the search: {error}")
