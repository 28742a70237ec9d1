"""`gancomp distill`: trains a small student under its teacher's discriminator."""

from __future__ import annotations

from dataclasses import replace

from gancomp.engine.device import choose_device, refuse_precision
from gancomp.engine.fit import View, fit
from gancomp.engine.run import check_place, writing_run
from gancomp.engine.stopping import listening_for_stop
from gancomp.planning.plan import Plan, make_plan
from gancomp.settings import Overrides
from gancomp.training.forecast import tell_plan
from gancomp.training.stages import begin
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
from gancomp.training.ways import choose_way, use_way


def distill(given: Overrides, view: View) -> Result:
    """Trains a student as its method says; without `--teacher` the teacher is trained beside it.

    Raises:
        GancompError: for whatever the user can fix; what was already saved stays.
        InterruptedRunError: after SIGINT or SIGTERM, when the state was saved.
    """
    return train(make_plan("distill", given, view.say), view)


def train(plan: Plan, view: View) -> Result:
    """The whole line, as planned; it serves `gancomp pretrain` too, whose plan has no student."""
    settings = plan.settings
    with listening_for_stop() as stop:
        device = choose_device(settings.run.device)
        refuse_precision(device, settings.run.precision)
        check_place(plan.out, resume=plan.resume)
        perceptual = load_feature_network(plan, view)
        teacher = make_teacher(settings, resume=goes_on(plan))
        task = make_task(settings, teacher, resume=goes_on(plan))
        student = make_student(settings, resume=goes_on(plan), initial=plan.initial)
        method = make_method(plan, task, student, perceptual).to(device)
        selection = make_selection(plan, method, view, device=device)
        reader = make_reader(plan, view)
        with writing_run(plan.out, resume=plan.resume) as run:
            if not plan.is_stage:
                view.say(describe_preset(plan))
            way = choose_way(plan, reader, device, say=view.say, stopped=stop.__bool__)
            precision = settings.run.precision
            graphs = use_way(method, device, way.way, precision=precision, say=view.say)
            config = describe_run(plan, perceptual) | {"speed": way.to_json()}
            checkpoint = begin_or_continue(plan, run, config, view)
            if not plan.is_stage:
                tell_plan(plan, method, reader, view)
            if checkpoint is None:
                beginning = begin(plan, method, view, train=train, stop=stop)
                if beginning.unfinished is not None:
                    return beginning.unfinished
                plan = with_time(plan, beginning.seconds_left)
            loop = make_loop(plan, method, reader, run, view, device=device, selection=selection)
            loop.graphs = graphs
            outcome = fit(loop, checkpoint=checkpoint, stop=stop)
            files = save_generators(plan, method, run, outcome.step)
            if selection is not None:
                selection.hand_out(files["student"])
            grid = max(run.samples.glob("*.png"), default=None)
    return Result(
        run=plan.out,
        outcome=outcome,
        teacher=files.get("teacher"),
        student=files.get("student"),
        grid=grid,
    )


def with_time(plan: Plan, seconds_left: float | None) -> Plan:
    """The plan with what earlier stages have left of `--max-time`."""
    if seconds_left is None:
        return plan
    schedule = replace(plan.settings.schedule, max_seconds=seconds_left)
    return replace(plan, settings=replace(plan.settings, schedule=schedule))
