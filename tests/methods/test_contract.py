"""What every method must keep, run over each line of the registry and both tasks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import (
    SUPER_RESOLUTION,
    SYNTHESIS,
    batch_for,
    random_batch,
    small_generator,
    small_method,
    small_task,
    snapshot,
)
from lines import plug_ins_loaded
from loops import loop_of

from gancomp.engine.checkpoint import Checkpoint
from gancomp.engine.device import random_state
from gancomp.engine.fit import Outcome, restore, run_step
from gancomp.engine.phases import Progress, optimizers
from gancomp.methods.base import Method
from gancomp.registry import METHODS, TASKS, resolve

pytestmark = pytest.mark.usefixtures("plug_ins")
with plug_ins_loaded():
    KINDS = {name: resolve(METHODS, "method", name) for name in METHODS}


def teachers(method: str, task: str) -> tuple[bool, ...]:
    """Whether its teacher may be frozen: alone it never is, after stages of its own always."""
    if not KINDS[method].distills:
        return (False,)
    return (True,) if task in (SUPER_RESOLUTION, SYNTHESIS) else (False, True)


CASES = [(method, task, frozen) for method, kind in KINDS.items() for task in kind.tasks
         for frozen in teachers(method, task)]  # fmt: skip


def built(name: str, task: str, frozen: bool) -> Method:
    whole = task in KINDS[name].whole_teacher
    if (name, task) == ("omgd", "paired"):  # both teachers, in one discriminator of five blocks
        return small_method(name, small_task(task, frozen=frozen, d_layers=3), shared_blocks=3)
    return small_method(name, small_task(task, frozen=frozen, whole=whole))


def test_a_subclass_that_gives_an_attribute_by_its_older_name_is_heard_and_told() -> None:
    with pytest.warns(DeprecationWarning, match="Alone.distils: is called distills") as told:

        class Alone(Method):
            distils = False

    assert not Alone.distills
    assert told[0].filename == __file__


def test_the_cases_cover_every_method_and_task() -> None:
    assert {method for method, _, _ in CASES} == set(METHODS)
    assert {task for _, task, _ in CASES} == set(TASKS)
    assert all((method, task) in {case[:2] for case in CASES}
               for method, kind in KINDS.items() for task in kind.tasks)  # fmt: skip


@pytest.mark.parametrize(("name", "task", "frozen"), CASES)
def test_each_phase_changes_its_module_and_nothing_else(name: str, task: str, frozen: bool) -> None:
    method = built(name, task, frozen)
    phases = method.phases()
    for phase in phases:
        method._phases = [phase]
        before = snapshot({"": method})
        if phase.name == "discriminator" and not frozen:
            # its losses lean on what the teacher's phase computed in the same step
            method._phases = [phases[0], phase]
        run_step(loop_of(method), 0, batch_for(task))
        changed = {
            key
            for key, value in snapshot({"": method}).items()
            if key not in before or not torch.equal(value, before[key])
        }
        allowed = parameters_of(method, method._phases)
        method._phases = phases
        assert changed
        assert {key for key in changed if not is_statistic(key)} <= allowed


def parameters_of(method: Method, phases: list) -> set[str]:
    ids = {id(item) for phase in phases for item in phase.module.parameters()}
    # a network has several names where a method and its task both hold it
    named = method.named_parameters(remove_duplicate=False)
    return {f".{name}" for name, item in named if id(item) in ids}


def is_statistic(key: str) -> bool:
    statistics = ("running_mean", "running_var", "num_batches_tracked", "path_mean", "gaps")
    return key.rsplit(".", 1)[-1] in statistics or ".average." in key


@pytest.mark.parametrize(("name", "task", "frozen"), CASES)
def test_ten_steps_are_finite_and_named(name: str, task: str, frozen: bool) -> None:
    method = built(name, task, frozen)
    for index in range(10):
        losses = run_step(loop_of(method), index, batch_for(task, index))
        assert all(torch.isfinite(term) for term in losses.values())
        progress = Progress(index, 0, 1)
        taking_part = {phase.name for phase in method.phases() if phase.takes_part(progress)}
        assert {key.split("/")[0] for key in losses} == taking_part


@pytest.mark.parametrize(("name", "task"), [case[:2] for case in CASES if case[2]])
def test_what_is_frozen_does_not_change_in_any_bit(name: str, task: str) -> None:
    method = built(name, task, True)
    before = snapshot(frozen_parts(method))
    whole = task in method.whole_teacher
    assert ({key.split(".")[0] for key in before} > {"teacher"}) == whole
    for index in range(5):
        run_step(loop_of(method), index, batch_for(task, index))
    after = snapshot(frozen_parts(method))
    assert all(torch.equal(after[key], value) for key, value in before.items())


def frozen_parts(method: Method) -> dict[str, torch.nn.Module]:
    """The teacher, and what is kept of its own game."""
    found = enumerate(getattr(method.task, "frozen_networks", list)())
    parts = {f"frozen {number}": item for number, item in found}
    parts = {name: item for name, item in parts.items() if item is not method.task.generator}
    return {"teacher": method.task.generator} | parts


@pytest.mark.parametrize(("name", "task", "frozen"), CASES)
def test_a_step_is_the_same_bit_for_bit_when_repeated_from_the_same_seed(
    name: str, task: str, frozen: bool
) -> None:
    results = []
    for _ in range(2):
        method = built(name, task, frozen)
        for index in range(3):
            run_step(loop_of(method), index, batch_for(task, index))
        results.append(snapshot(method.networks()))
    assert results[0].keys() == results[1].keys()
    assert all(torch.equal(results[0][key], results[1][key]) for key in results[0])


@pytest.mark.parametrize(("name", "task", "frozen"), CASES)
def test_killed_after_2_of_3_steps_and_resumed_equals_3_straight_steps_bit_for_bit(
    name: str, task: str, frozen: bool, tmp_path: Path
) -> None:
    straight, broken = built(name, task, frozen), built(name, task, frozen)
    for method, steps in ((straight, 3), (broken, 2)):
        for index in range(steps):
            run_step(loop_of(method), index, batch_for(task, index))
    # through a file: what a checkpoint holds is neither shared nor looked at again
    torch.save(state_of(broken), tmp_path / "state.pt")
    resumed = built(name, task, frozen)
    with torch.no_grad():
        for item in resumed.parameters():  # whatever a checkpoint lacks is noticed
            if not any(item is kept for kept in frozen_features(resumed)):
                item.zero_()
    state = torch.load(tmp_path / "state.pt", weights_only=False)
    restore(resumed, Checkpoint(2, tmp_path, state), torch.device("cpu"))
    run_step(loop_of(resumed), 2, batch_for(task, 2))
    wanted, found = snapshot(straight.networks()), snapshot(resumed.networks())
    assert wanted.keys() == found.keys()
    assert [key for key, value in wanted.items() if not torch.equal(value, found[key])] == []


def state_of(method: Method) -> dict[str, Any]:
    """What `engine.fit.save` writes."""
    return {
        "networks": {name: item.state_dict() for name, item in method.networks().items()},
        "optimizers": {
            name: item.state_dict() for name, item in optimizers(method.phases()).items()
        },
        "rng": random_state(torch.device("cpu")),
        "outcome": asdict(Outcome(step=2)),
    }


def frozen_features(method: Method) -> list[torch.nn.Parameter]:
    """Of the perceptual network, which all tests share and every run loads anew."""
    network = getattr(method, "perceptual", None)
    return list(network.parameters()) if network is not None else []


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.distills])
def test_no_network_runs_more_often_than_the_equations_ask(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = KINDS[name].tasks[0]
    method = built(name, task, task in (SUPER_RESOLUTION, SYNTHESIS))
    counts: dict[str, int] = {}
    for role, network in method.generators().items():
        monkeypatch.setattr(network, "walk", counted(network.walk, counts, role))
    run_step(loop_of(method), 0, batch_for(task))
    # who plays the unpaired game: the translation, the cycle back to the target, the identity
    both = ("dmad", "wavelet-kd", "gcc")  # students with a game of their own
    usual = {"teacher": 3 if task == "unpaired" else 1, "student": 3 if name in both else 1}
    # what synthesis hands out is a teacher that takes no part, and an average
    assert counts == {"no-kd": {"student": 1}, "dgl": {}}.get(name, usual)


def counted(walk: object, counts: dict[str, int], role: str) -> object:
    def call(images: torch.Tensor) -> object:
        counts[role] = counts.get(role, 0) + 1
        return walk(images)

    return call


def test_a_frozen_teacher_with_batch_norm_keeps_its_running_statistics_from_the_first_step() -> (
    None
):
    teacher = small_generator(norm="batch")
    task = small_task("paired", frozen=True, generator=teacher)
    method = small_method("dcd", task)
    before = snapshot({"teacher": teacher})
    run_step(loop_of(method), 0, random_batch())
    after = snapshot({"teacher": teacher})
    assert any(key.endswith("running_mean") for key in before)
    assert all(torch.equal(after[key], value) for key, value in before.items())
