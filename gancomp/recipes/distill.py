"""`gancomp distill`: trains a small student under its teacher's discriminator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch

from gancomp.engine.checkpoint import Checkpoint
from gancomp.engine.device import choose_device, refuse_precision
from gancomp.engine.fit import Loop, View, fit
from gancomp.engine.group import joined
from gancomp.engine.run import check_place, writing_run
from gancomp.engine.stopping import StopWish, listening_for_stop
from gancomp.losses.perceptual import PerceptualFeatures
from gancomp.methods.base import Method
from gancomp.planning.own import naming_code
from gancomp.planning.plan import Plan, make_plan
from gancomp.ranks import current
from gancomp.settings import Overrides
from gancomp.training.forecast import tell_plan
from gancomp.training.precision import settle_precision
from gancomp.training.quantized import finish_quantized
from gancomp.training.ranks import begun_again, patience, refuse_ranks, share_work
from gancomp.training.searching import find_shape
from gancomp.training.selection import Selection
from gancomp.training.stages import Beginning, hand_on, run_stages, stages_of
from gancomp.training.steps import (
    Result,
    begin_or_continue,
    describe_preset,
    describe_run,
    goes_on,
    load_feature_network,
    make_loop,
    make_method,
    make_reader,
    make_selection,
    make_student,
    make_task,
    make_teacher,
    save_generators,
)
from gancomp.training.ways import Silent, choose_way, use_way


def distill(given: Overrides, view: View) -> Result:
    """Trains a student as its method says; without `--teacher` the teacher is trained beside it.

    Raises:
        GancompError: for whatever the user can fix; what was already saved stays.
        InterruptedRunError: after SIGINT or SIGTERM, when the state was saved.
    """
    return train_as("distill", given, view)


def train_as(command: str, given: Overrides, view: View) -> Result:
    """What `distill` and `pretrain` have in common; under torchrun, the ranks together.

    Raises:
        GancompError: for whatever the user can fix; what was already saved stays.
        InterruptedRunError: after SIGINT or SIGTERM, when the state was saved.
    """
    with joined(patience(given)) as ranks, naming_code(given):
        view = view if ranks.leads else Silent()
        plan = ranks.from_lead(lambda: make_plan(command, begun_again(given, ranks), view.say))
        return train(plan, view)


def train(plan: Plan, view: View) -> Result:
    """The whole line, as planned; it serves `gancomp pretrain` too, whose plan has no student."""
    with listening_for_stop() as stop:
        device = choose_device(plan.settings.run.device)
        refuse_precision(device, plan.settings.run.precision)
        ranks = current()
        if ranks.leads:
            check_place(plan.out, resume=plan.resume)
        built = build(plan, view, device)  # what is impossible is refused before a run is begun
        reader = make_reader(plan, view)
        with writing_run(plan.out, resume=plan.resume) as run:
            plan, tried = settle_precision(plan, built.method, device, say=view.say)
            if plan.search is not None:
                config = describe_run(plan, built.perceptual) | tried
                del built  # the search has the memory to itself
                fits = partial(build, view=view, device=device)
                found = find_shape(plan, run, config, view, stop=stop, fits=fits)
                if found.shrunk is None:
                    return Result(plan.out, found.outcome, None, None, None)
                plan = found.plan
                built = build(plan, view, device)
            if not plan.is_stage:
                view.say(describe_preset(plan))
            way = choose_way(plan, reader, device, say=view.say, stopped=stop.__bool__)
            config = describe_run(plan, built.perceptual) | {"speed": way.to_json()} | tried
            checkpoint = begin_or_continue(plan, run, config, view)
            if not plan.is_stage and ranks.size == 1:
                tell_plan(plan, built.method, reader, view)
            if checkpoint is None:
                beginning = Beginning(made={})
                if stages_of(plan.settings, plan.options):
                    del built  # the stages have the memory to themselves
                    beginning = run_stages(plan, view, train=train, stop=stop)
                    if beginning.unfinished is not None:
                        return beginning.unfinished
                    plan = with_time(plan, beginning.seconds_left)
                    built = build(plan, view, device)
                hand_on(plan, built.method, beginning.made)
            share_work(plan, built.method, ranks)
            precision = plan.settings.run.precision
            graphs = use_way(built.method, device, way.way, precision=precision, say=view.say)
            loop = make_loop(
                plan, built.method, reader, run, view, device=device, selection=built.selection
            )
            loop.graphs = graphs
            return take_steps(plan, built, loop, checkpoint=checkpoint, stop=stop)


@dataclass(frozen=True)
class Built:
    """What a run has in memory: its method with all networks, and what scores the student."""

    perceptual: PerceptualFeatures | None
    method: Method
    selection: Selection | None


def build(plan: Plan, view: View, device: torch.device) -> Built:
    """The run's networks, its method around them and what chooses among its students."""
    settings, resume = plan.settings, goes_on(plan)
    perceptual = load_feature_network(plan, view)
    teacher = make_teacher(settings, resume=resume)
    task = make_task(settings, teacher, resume=resume)
    student = make_student(settings, resume=resume, initial=plan.initial)
    method = make_method(plan, task, student, perceptual).to(device)
    refuse_ranks(plan, method, current())
    return Built(perceptual, method, make_selection(plan, method, view, device=device))


def take_steps(
    plan: Plan, built: Built, loop: Loop, *, checkpoint: Checkpoint | None, stop: StopWish
) -> Result:
    """The run's own steps, after its stages, and what comes of them: models and a picture."""
    ranks = current()
    finishing = finish_quantized(plan, built.method, loop)
    outcome = fit(loop, checkpoint=checkpoint, stop=stop)
    finishing.tell(outcome.step)
    files = save_generators(plan, built.method, loop.run, outcome.step)
    if built.selection is not None and ranks.leads:
        built.selection.hand_out(files["student"])
    ranks.barrier()  # others may read what the first has written
    return Result(
        run=plan.out,
        outcome=outcome,
        teacher=files.get("teacher"),
        student=files.get("student"),
        grid=max(loop.run.samples.glob("*.png"), default=None),
    )


def with_time(plan: Plan, seconds_left: float | None) -> Plan:
    """The plan with what earlier stages have left of `--max-time`."""
    if seconds_left is None:
        return plan
    schedule = replace(plan.settings.schedule, max_seconds=seconds_left)
    return replace(plan, settings=replace(plan.settings, schedule=schedule))
