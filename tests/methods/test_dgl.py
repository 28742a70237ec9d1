"""DGL: the teacher's discriminator speaks in the generator's turn only, and stays as it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loops import loop_of
from synthesis_builders import (
    BATCH,
    SIZES,
    state_of,
    take_steps,
    tiny_batch,
    tiny_generator,
    tiny_method,
    tiny_task,
    whole_state,
)
from tiny_runs import assert_equal

from gancomp.engine.fit import run_step
from gancomp.engine.phases import Step
from gancomp.errors import ConfigError
from gancomp.methods.base import Components
from gancomp.methods.dgl import Dgl
from gancomp.methods.synthesis_options import DglOptions
from gancomp.tasks.synthesis import SynthesisTask, draw, fakes_of

ARCHS = ("stylegan2", "biggan")


def alike(arch: str) -> tuple[Any, Any]:
    """`dgl` with lambda 0 and `gan`, of the same generator and discriminator."""
    options = {"r1_every": 2, "path_every": 2} if arch == "stylegan2" else {}
    student = tiny_method("dgl", arch, student_width=8, d_multiplier=1.0, lambda_dgl=0.0, **options)
    alone = tiny_method("gan", arch, **options)
    for name in ("generator", "discriminator", "average"):
        alone.networks()[name].load_state_dict(student.networks()[name].state_dict())
    return student, alone


@pytest.mark.parametrize("arch", ARCHS)
def test_lambda_zero_is_the_plain_step_bit_for_bit(arch: str) -> None:
    student, alone = alike(arch)
    found, wanted = take_steps(student, 6, arch), take_steps(alone, 6, arch)
    assert_equal(whole_state(student), whole_state(alone))
    for one, other in zip(found, wanted, strict=True):
        renamed = {key.replace("teacher/", "student/"): value for key, value in other.items()}
        assert_equal(one, renamed)
        assert not any("dgl" in key or "judged_by_teacher" in key for key in one)


@pytest.mark.parametrize("arch", ARCHS)
def test_lambda_zero_does_not_even_ask_the_teachers_discriminator(
    arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = tiny_method("dgl", arch, lambda_dgl=0.0)
    monkeypatch.setattr(method.task.discriminator, "walk", lambda images: pytest.fail("asked"))
    take_steps(method, 2, arch)
    assert "teacher_discriminator" not in method.networks()


@pytest.mark.parametrize("arch", ARCHS)
def test_the_students_loss_is_its_own_term_and_lambda_times_the_teachers(arch: str) -> None:
    method = tiny_method("dgl", arch, lambda_dgl=0.3).eval()
    step = Step(5, tiny_batch(arch))
    found = method.losses("student", step)
    game, judge = method.pair, method.task.discriminator
    mixing = game.rules.style_mixing
    fakes = fakes_of(
        game.generator, draw(game.generator, BATCH, 0, "generator", 5, 0, mixing=mixing)
    )
    terms = []
    for discriminator in (game.discriminator, judge):
        logits = fakes.by(discriminator)
        terms.append(-logits.mean() if arch == "biggan" else (1 + (-logits).exp()).log().mean())
    assert list(found) == ["gan", "dgl"]
    assert found["gan"].item() == pytest.approx(terms[0].item(), rel=1e-5)
    assert found["dgl"].item() == pytest.approx(0.3 * terms[1].item(), rel=1e-5)
    mean = float(fakes.by(judge).mean())
    assert float(step.notes["student/judged_by_teacher"]) == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize("arch", ARCHS)
def test_the_gradient_of_the_teachers_term_reaches_the_student_and_nothing_else(arch: str) -> None:
    method = tiny_method("dgl", arch)
    method.losses("student", Step(0, tiny_batch(arch)))["dgl"].backward()
    reached = [item for item in method.pair.generator.parameters() if item.grad is not None]
    assert sum(float(item.grad.abs().sum()) for item in reached) > 0
    for network in (method.task.discriminator, method.task.generator, method.pair.discriminator):
        assert all(item.grad is None for item in network.parameters())


@pytest.mark.parametrize("arch", ARCHS)
def test_a_frozen_discriminator_is_unchanged_in_every_bit_after_twenty_steps(arch: str) -> None:
    method = tiny_method("dgl", arch)
    before = state_of(method.task.discriminator), state_of(method.task.generator)
    own = state_of(method.pair.discriminator)
    take_steps(method, 20, arch)
    after = state_of(method.task.discriminator), state_of(method.task.generator)
    assert_equal(after, before)
    assert not method.task.discriminator.training
    assert not any(item.requires_grad for item in method.task.discriminator.parameters())
    if arch == "biggan":  # else nothing would show that the vectors could have moved
        assert any(key.endswith("u0") for key in before[0])
        moved = state_of(method.pair.discriminator)
        assert any(not torch.equal(moved[key], own[key]) for key in own if key.endswith("u0"))


def test_the_teacher_speaks_in_the_generators_turn_only(monkeypatch: pytest.MonkeyPatch) -> None:
    method = tiny_method("dgl")
    asked: list[str] = []
    walk = method.task.discriminator.walk
    losses = method.losses

    def noted(images: Any) -> Any:
        asked.append(turn[-1])
        return walk(images)

    turn: list[str] = []
    monkeypatch.setattr(method.task.discriminator, "walk", noted)
    monkeypatch.setattr(
        method, "losses", lambda phase, step: turn.append(phase) or losses(phase, step)
    )
    run_step(loop_of(method), 0, tiny_batch())
    assert turn == ["student", "path", "discriminator", "r1"]
    assert asked == ["student"]


@pytest.mark.parametrize("arch", ARCHS)
def test_a_discriminator_that_learns_has_its_own_turn_after_the_students(arch: str) -> None:
    method = tiny_method("dgl", arch, teacher_discriminator="finetune")
    names = [phase.name for phase in method.phases()]
    game = ["student", "path", "discriminator", "r1"] if arch == "stylegan2" else [
        "student", "discriminator",
    ]  # fmt: skip
    lazy = ["teacher_r1"] if arch == "stylegan2" else []
    assert names == [*game, "teacher_discriminator", *lazy]
    before, teacher = state_of(method.task.discriminator), state_of(method.task.generator)
    take_steps(method, 2, arch)
    after = state_of(method.task.discriminator)
    changed = [key for key, item in after.items() if not torch.equal(item, before[key])]
    assert len(changed) > 5
    assert method.task.discriminator.training
    assert_equal(state_of(method.task.generator), teacher)


def test_a_learning_discriminators_gradients_are_those_of_its_own_loss_alone() -> None:
    method = tiny_method("dgl", teacher_discriminator="finetune", r1_gamma=0.0)
    take_steps(method, 3)
    judge = method.task.discriminator
    found = [item.grad.clone() for item in judge.parameters()]
    other = tiny_method("dgl", teacher_discriminator="finetune", r1_gamma=0.0)
    take_steps(other, 2)
    # the third step, its earlier turns as before, then its loss by hand
    other.phases()[-1].active = lambda progress: False
    step_losses(other, 2)
    twin = other.task.discriminator.requires_grad_(True)
    twin.zero_grad()
    losses = other.pair.judge_losses(Step(2, tiny_batch(seed=2)), twin)
    torch.stack(list(losses.values())).sum().backward()
    for one, item in zip(found, twin.parameters(), strict=True):
        torch.testing.assert_close(one, item.grad, rtol=1e-4, atol=1e-7)


def step_losses(method: Any, index: int) -> None:
    run_step(loop_of(method), index, tiny_batch(seed=index))


def test_a_learning_discriminator_does_what_the_students_would_in_its_place() -> None:
    """Its turn is the same: with equal weights, images and rules both end up equal."""
    method = tiny_method(
        "dgl", student_width=8, d_multiplier=1.0, teacher_discriminator="finetune", r1_every=2
    )
    method.pair.discriminator.load_state_dict(method.task.discriminator.state_dict())
    take_steps(method, 4)
    assert_equal(state_of(method.pair.discriminator), state_of(method.task.discriminator))


@pytest.mark.parametrize(
    ("arch", "multiplier", "width"),
    [("stylegan2", None, 4), ("stylegan2", 1.0, 8), ("stylegan2", 0.25, 2), ("biggan", None, 8),
     ("biggan", 0.5, 4)],
)  # fmt: skip
def test_the_students_discriminator_is_narrower_by_family_or_multiplier(
    arch: str, multiplier: float | None, width: int
) -> None:
    method = tiny_method("dgl", arch, d_multiplier=multiplier)
    judge = method.pair.discriminator
    assert judge.settings()["width"] == width
    assert judge.resolution == SIZES[arch]
    assert judge.num_classes == (2 if arch == "biggan" else None)


def test_the_teacher_is_handed_out_beside_the_students_average() -> None:
    method = tiny_method("dgl")
    assert method.generators() == {
        "teacher": method.task.generator,
        "student": method.pair.average.network,
    }
    assert not method.task.generator.training
    alone = tiny_method("dgl", task=tiny_task(frozen=False), lambda_dgl=0.0)
    assert list(alone.generators()) == ["student"]
    assert list(alone.networks()) == ["generator", "discriminator", "average", "standing"]


def test_a_checkpoint_holds_both_teachers() -> None:
    names = list(tiny_method("dgl").networks())
    assert names[-2:] == ["teacher_generator", "teacher_discriminator"]


def test_it_needs_a_student() -> None:
    task: SynthesisTask = tiny_task(frozen=True)
    given = Components(task=task, student=None, perceptual=None, optimizer=None, seed=0)  # type: ignore[arg-type]  # never reached
    with pytest.raises(ConfigError, match="`method` dgl: needs a student"):
        Dgl(given, DglOptions())


def test_a_teacher_made_by_a_stage_is_its_average() -> None:
    teacher = tiny_method("gan")
    take_steps(teacher, 2)
    states = {name: network.state_dict() for name, network in teacher.networks().items()}
    method = tiny_method("dgl")
    method.go_on_from("teacher", states)
    average = teacher.pair.average.network
    assert_equal(state_of(method.task.generator), state_of(average))
    assert_equal(state_of(method.task.discriminator), state_of(teacher.pair.discriminator))
    assert tiny_generator().latent_avg is None
