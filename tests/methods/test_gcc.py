"""GCC's method: the released objective term by term, the gates' balance, held-out images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import SIZE, random_batch, small_method, small_task, snapshot
from golden_values import assert_golden, fill, g, golden, img, u
from loops import loop_of
from torch import Tensor

from gancomp.config import read
from gancomp.engine.fit import run_step
from gancomp.engine.phases import HELD_OUT, Progress, Step
from gancomp.methods.base import Components
from gancomp.methods.gcc import Gcc
from gancomp.methods.gcc_options import PRESETS, GccOptions
from gancomp.metrics.cost import measure_cost
from gancomp.networks.resnet import mobile_resnet9
from gancomp.planning import published
from gancomp.registry import TASKS, resolve
from gancomp.settings import (
    AdversarialSettings,
    NetworkSettings,
    OptimizerSettings,
    Overrides,
)
from gancomp.tasks.base import Translation

IMAGE = (1, 3, 64, 64)


def golden_method(task: str) -> Gcc:
    """With the discriminators and adaptors of the stored values; the generators are not run."""
    paired = task == "paired"
    objective = resolve(TASKS, "task", task)(
        mobile_resnet9(8),
        NetworkSettings("patchgan", width=4, norm="batch" if paired else "instance", layers=3),
        adversarial=AdversarialSettings(gan="hinge" if paired else "lsgan", pool_size=0),
        seed=0,
    )
    name, arch = ("gcc", "unet256" if paired else "mobile-resnet9")
    released = "gcc-released"
    row = next(row for row in PRESETS if (row.name, row.task, row.arch) == (released, task, arch))
    assert row.method == name
    components = Components(objective, mobile_resnet9(4), None, OptimizerSettings(), 0)
    method = Gcc(components, read(GccOptions, row.settings["method"]["options"])).double()
    fill(objective.discriminator, 7400 if paired else 7000)
    fill(method.students_task.discriminator, 6400 if paired else 6000)
    if not paired:
        fill(objective.backward_discriminator, 7200)
        fill(method.students_task.backward_discriminator, 6200)
    for start, judge in enumerate(method.judges.values(), start=5100):
        for gate in judge.gates():
            gate.data.copy_(0.3 + 0.6 * u((len(gate),), start + len(gate)))
    for index, adapt in enumerate(method.adaptors[0].by_tap):
        fill(adapt, 2000 + 100 * index)
    return method.train()


def golden_step(method: Gcc) -> tuple[Step, Tensor, Tensor]:
    """A step whose translations are stored ones; the student's image and first map."""
    student = img(IMAGE, 83).requires_grad_()
    maps = [g((1, 16, 16, 16), 40 + i).requires_grad_() for i in range(4)]
    taps_T = dict(
        zip(method.task.recorded_taps, (g((1, 32, 16, 16), 30 + i) for i in range(4)), strict=True)
    )
    taps_S = dict(zip(method.students_task.recorded_taps, maps, strict=True))
    step = Step(0, {"source": img(IMAGE, 80), "target": img(IMAGE, 81)})
    step.shared["teacher"] = Translation(img(IMAGE, 87), taps_T)
    step.shared["student"] = Translation(student, taps_S)
    return step, student, maps[0]


def test_the_paired_students_objective_is_that_of_the_released_code() -> None:
    method = golden_method("paired")
    step, student, first = golden_step(method)
    losses = method.losses("student", step)
    entry = golden("gcc/pix2pix generator objective with distillation")
    assert set(losses) == {"gan", "l1", "gram", "content"}
    for name, term in losses.items():
        assert_golden(term, entry[name])
    total = torch.stack(list(losses.values())).sum()
    assert_golden(total, entry["value"])
    by_image, by_map = torch.autograd.grad(total, (student, first))
    assert_golden(by_image, entry["grad"])
    assert_golden(by_map, entry["grad_S0"])


def test_the_unpaired_terms_are_those_of_the_released_code_which_stop_before_the_image() -> None:
    method = golden_method("unpaired")
    step, student, first = golden_step(method)
    losses = method.distillation_terms(step, "forward", step.shared["student"])
    entry = golden("gcc/CycleGAN generator objective with distillation")
    assert_golden(losses["gram_forward"], entry["gram_A"])
    assert_golden(losses["content_forward"], entry["content_A"])
    total = torch.stack(list(losses.values())).sum()
    by_image, by_map = torch.autograd.grad(total, (student, first), allow_unused=True)
    assert by_image is None
    assert_golden(by_map, entry["grad_SA0"])


@pytest.mark.parametrize("task", ["unpaired", "paired"])
def test_the_gates_loss_is_that_of_the_released_code(task: str) -> None:
    method = golden_method(task)
    step, _, _ = golden_step(method)
    loss = method.balance_loss(step, "forward")
    kind = "pix2pix" if task == "paired" else "CycleGAN (A side)"
    entry = golden(f"gcc/selective activation loss, {kind}")
    assert_golden(loss, entry["value"])
    gradients = torch.autograd.grad(loss, list(method.students_task.discriminator.gates()))
    for gradient, expected in zip(gradients, entry["grad_alpha_all"], strict=True):
        assert_golden(gradient, expected)
    if task == "unpaired":
        step.shared["backward"] = Translation(img(IMAGE, 86), {})
        step.shared["student_backward"] = Translation(img(IMAGE, 82), {})
        assert_golden(method.balance_loss(step, "backward"), entry["B"])


def test_maps_under_the_teachers_discriminator_have_a_gradient_unless_asked_otherwise() -> None:
    for detach in (False, True):
        method = small_method("gcc", small_task("paired"), detach_features=detach)
        assert isinstance(method, Gcc)
        image = torch.zeros(2, 3, SIZE, SIZE, requires_grad=True)
        step = Step(0, random_batch())
        maps = {
            tap: value.detach() for tap, value in method.students_task.teacher(step).taps.items()
        }
        losses = method.distillation_terms(step, "forward", Translation(image, maps))
        total = torch.stack(list(losses.values())).sum()
        (gradient,) = torch.autograd.grad(total, image, allow_unused=True)
        assert (gradient is None) == detach


def test_gates_learn_from_what_is_held_out_for_them_and_nothing_else_does() -> None:
    def after_a_step(seed: int) -> dict[str, Tensor]:
        method = small_method("gcc", small_task("unpaired"), gate_lr=0.01)
        other = random_batch(seed=seed)
        batch = random_batch() | {f"{HELD_OUT}{name}": value for name, value in other.items()}
        run_step(loop_of(method), 0, batch)
        return snapshot(method.networks())

    one, two = after_a_step(5), after_a_step(6)
    changed = {key for key in one if not torch.equal(one[key], two[key])}
    statistics = ("running_mean", "running_var", "gaps")
    assert changed
    assert all(key.endswith((".alpha", *statistics)) for key in changed)
    # Adam's first step is as long for every gradient of one sign
    assert any(key.endswith("gaps") for key in changed)


def test_a_new_gap_counts_by_the_share_of_training_left() -> None:
    method = small_method("gcc", small_task("paired"))
    assert isinstance(method, Gcc)
    (gates,) = [phase for phase in method.phases() if phase.name == "gates"]
    for epoch, momentum in ((0, 1.0), (1, 0.75), (3, 0.25)):
        assert gates.takes_part(Progress(epoch, epoch, 4))
        assert method.momentum == momentum
    gaps = method.teacher_gaps
    first = gaps.follow("forward", torch.tensor(0.8), 0.25)
    assert first.item() == pytest.approx(0.8)
    assert gaps.follow("forward", torch.tensor(0.4), 0.25).item() == pytest.approx(0.7)


def test_gates_are_clipped_before_each_step_of_theirs() -> None:
    method = small_method("gcc", small_task("paired"))
    assert isinstance(method, Gcc)
    alpha = next(method.students_task.discriminator.gates())
    with torch.no_grad():
        alpha.fill_(3.0)
    run_step(loop_of(method), 0, random_batch())
    assert (alpha - 1).abs().max() <= 1.1e-4


def test_the_students_gated_discriminator_is_as_wide_as_the_teachers_or_as_asked() -> None:
    for options, width in (({}, 4), ({"student_d_width": 2}, 2)):
        chosen: dict[str, Any] = options
        method = small_method("gcc", small_task("unpaired"), **chosen)
        assert isinstance(method, Gcc)
        assert {judge.width for judge in method.judges.values()} == {width}
        assert len(method.judges) == 2


# stem, down1, down2; nine blocks; up1, up2, and what they cost by torchprofile's rule
OF_A = ([24, 48, 86, 72, 47, 44, 43, 43, 29, 30, 37, 36, 48, 24], 2_383_638_528, 180_566)
OF_B = ([24, 48, 96, 91, 73, 62, 61, 74, 54, 51, 58, 81, 48, 24], 2_691_059_712, 243_298)


@pytest.mark.parametrize(("channels", "macs", "params"), [OF_A, OF_B])
def test_the_released_widths_cost_what_is_reported(
    channels: list[int], macs: int, params: int
) -> None:
    with torch.device("meta"):
        cost = measure_cost(mobile_resnet9(channels=channels))
    assert (cost.macs_torchprofile, cost.params) == (macs, params)


def test_horse2zebras_student_has_the_released_widths_unless_another_size_is_asked_for() -> None:
    row = next(row for row in PRESETS if row.dataset == "horse2zebra")
    teacher, arch = NetworkSettings("mobile-resnet9", 64), "mobile-resnet9"
    found = published.shape(arch, teacher, Overrides(), row)
    assert found == {"width": 24, "channels": OF_A[0]}
    assert published.shape(arch, teacher, Overrides(student_width=16), row) == {}
    assert published.shape(arch, NetworkSettings(arch, 8), Overrides(), row) == {}
    assert published.shape("resnet9", teacher, Overrides(), row) == {}
