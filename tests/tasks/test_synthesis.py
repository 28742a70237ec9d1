"""The plain round of synthesis: literal losses, gradients in their place, latents without state."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest
import torch
from synthesis_builders import BATCH, SIZES, tiny_batch, tiny_task
from torch import Tensor

from gancomp.engine.phases import Step
from gancomp.errors import ConfigError
from gancomp.networks.synthesis import Latents
from gancomp.settings import AdversarialSettings, NetworkSettings
from gancomp.tasks.synthesis import (
    Judged,
    Styled,
    SynthesisTask,
    draw,
    fakes_of,
    judging,
    reals_of,
    verdicts,
)

ARCHS = ("stylegan2", "biggan")


def test_stylegan2_has_styles_in_every_python() -> None:
    """Since Python 3.12 isinstance finds neither buffers nor what else a module has by name."""
    generator, _ = tiny_task("stylegan2").players
    assert isinstance(generator, Styled)
    asked = [name for name in {**vars(Styled), **Styled.__annotations__} if name[0] != "_"]
    assert sorted(asked) == ["map", "styles", "synthesize"]
    for name in asked:
        inspect.getattr_static(generator, name)


def literal(kind: str, logits: Tensor, *, wanted: bool) -> float:
    values = logits.double().flatten().tolist()
    sign = -1 if wanted else 1
    terms = {
        "vanilla": lambda x: math.log1p(math.exp(sign * x)),
        "hinge": lambda x: max(0.0, 1 + sign * x),
    }
    return sum(map(terms[kind], values)) / len(values)


@pytest.mark.parametrize("arch", ARCHS)
def test_the_discriminators_terms_are_the_literal_ones(arch: str) -> None:
    task = tiny_task(arch).eval()
    generator, discriminator = task.players
    kind = task.settings.gan
    reals = reals_of(Step(0, tiny_batch(arch)), discriminator)
    with torch.no_grad():
        fakes = fakes_of(generator, draw(generator, BATCH, 0, "test"))
        found = judging(kind, discriminator, reals, fakes)
        real, fake = reals.by(discriminator), fakes.by(discriminator)
    assert float(found["real"]) == pytest.approx(literal(kind, real, wanted=True), rel=1e-5)
    assert float(found["fake"]) == pytest.approx(literal(kind, fake, wanted=False), rel=1e-5)


@pytest.mark.parametrize("arch", ARCHS)
def test_the_generators_term_is_the_literal_one(arch: str) -> None:
    task, step = tiny_task(arch).eval(), Step(0, tiny_batch(arch))
    generator, discriminator = task.players
    found = task.generator_losses(step)["gan"]
    logits = fakes_of(generator, draw(generator, BATCH, 0, "plain", 0)).by(discriminator)
    if arch == "biggan":
        assert float(found) == pytest.approx(-float(logits.mean()), rel=1e-5)
    else:
        assert found.item() == pytest.approx(literal("vanilla", logits, wanted=True), rel=1e-5)


@pytest.mark.parametrize("arch", ARCHS)
def test_the_discriminators_terms_leave_the_generator_without_gradient(arch: str) -> None:
    task, step = tiny_task(arch), Step(0, tiny_batch(arch))
    images = fakes_of(task.players[0], draw(task.players[0], BATCH, 0, "test")).images
    for losses in (task.discriminator_losses(step), task.discriminator_losses(step, images, 0.5)):
        torch.stack(list(losses.values())).sum().backward()
    assert all(item.grad is None for item in task.generator.parameters())
    assert any(item.grad is not None for item in task.discriminator.parameters())


def test_the_students_share_of_the_discriminators_loss_is_weighted() -> None:
    task, step = tiny_task(), Step(0, tiny_batch())
    images = torch.zeros_like(step.batch["image"])
    whole, half = (task.discriminator_losses(step, images, weight) for weight in (1.0, 0.5))
    assert torch.equal(half["fake"], 0.5 * whole["fake"])
    assert torch.equal(half["real"], whole["real"])


def test_without_labels_all_photographs_are_of_the_one_class() -> None:
    _, judge = tiny_task("biggan").players
    batch = tiny_batch("biggan")
    given = reals_of(Step(0, batch), judge)
    assert torch.equal(given.classes, batch["label"])
    without = reals_of(Step(0, {"image": batch["image"]}), judge)
    assert without.classes.tolist() == [0] * BATCH
    _, plain = tiny_task().players
    assert reals_of(Step(0, tiny_batch("biggan")), plain).classes is None


def test_a_part_has_its_own_images_and_classes() -> None:
    images = torch.arange(6.0).view(6, 1, 1, 1)
    whole = Judged(images, torch.arange(6))
    parts = [whole.part(index, 3) for index in range(3)]
    assert [part.images.flatten().tolist() for part in parts] == [[0, 1], [2, 3], [4, 5]]
    assert [part.classes.tolist() for part in parts] == [[0, 1], [2, 3], [4, 5]]


def equal(one: Latents, two: Latents) -> bool:
    return torch.equal(one.z, two.z) and all(map(torch.equal, one.noise, two.noise))


def test_latents_follow_from_seed_phase_and_step_alone() -> None:
    generator, _ = tiny_task().players

    def drawn(*keys: Any) -> Latents:
        torch.rand(3)  # a state that must not matter
        return draw(generator, BATCH, *keys, mixing=0.5)

    assert equal(drawn(0, "path", 3, 0), drawn(0, "path", 3, 0))
    for other in ((1, "path", 3, 0), (0, "generator", 3, 0), (0, "path", 4, 0), (0, "path", 3, 1)):
        assert not equal(drawn(0, "path", 3, 0), drawn(*other))


@pytest.mark.parametrize("arch", ARCHS)
def test_images_of_another_size_than_the_networks_are_refused(arch: str) -> None:
    task = tiny_task(arch)
    task.check_size(SIZES[arch])
    with pytest.raises(ConfigError, match=f"`size` 64: {arch} of this run is for {SIZES[arch]}"):
        task.check_size(64)


def test_generators_that_translate_are_refused() -> None:
    from builders import small_generator

    task = SynthesisTask(
        small_generator(),
        NetworkSettings("stylegan2-discriminator", 8, resolution=16),
        adversarial=AdversarialSettings(),
        seed=0,
    )
    with pytest.raises(ConfigError, match="`arch` mobile-resnet6: does not generate images"):
        _ = task.players


@pytest.mark.parametrize("count", [4, 8])
def test_one_pass_over_both_gives_what_two_passes_give(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = tiny_task().players[1]
    reals, fakes = (Judged(tiny_batch(seed=seed, count=count)["image"]) for seed in (1, 2))
    passes: list[int] = []
    judge.register_forward_hook(lambda module, inputs, logits: passes.append(len(logits)))
    with torch.no_grad():
        apart = verdicts(judge, reals, fakes)
        monkeypatch.setattr("gancomp.tasks.synthesis.pays_off", lambda device: True)
        at_once = verdicts(judge, reals, fakes)
    assert passes == [count, count, 2 * count]
    for one, other in zip(apart, at_once, strict=True):
        # convolutions of other batch sizes may add up in another order
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
