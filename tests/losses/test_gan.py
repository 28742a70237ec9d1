"""The adversarial terms against their formulas, logit by logit."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from golden_values import assert_value_and_gradient, g
from torch import Tensor

from gancomp.losses.gan import (
    GAN_KINDS,
    discriminator_fake_loss,
    discriminator_real_loss,
    generator_loss,
)

LOSSES = {
    "generator": generator_loss,
    "real": discriminator_real_loss,
    "fake": discriminator_fake_loss,
}
# d/dlogit beside each value, so that gradients are compared with a formula and not with autograd
LITERAL: dict[tuple[str, str], tuple[Callable[[float], float], Callable[[float], float]]] = {
    ("lsgan", "generator"): (lambda x: (x - 1) ** 2, lambda x: 2 * (x - 1)),
    ("lsgan", "real"): (lambda x: (x - 1) ** 2, lambda x: 2 * (x - 1)),
    ("lsgan", "fake"): (lambda x: x**2, lambda x: 2 * x),
    ("hinge", "generator"): (lambda x: -x, lambda x: -1.0),
    ("hinge", "real"): (lambda x: max(0.0, 1 - x), lambda x: -1.0 if x < 1 else 0.0),
    ("hinge", "fake"): (lambda x: max(0.0, 1 + x), lambda x: 1.0 if x > -1 else 0.0),
    ("vanilla", "generator"): (lambda x: -math.log(sigmoid(x)), lambda x: sigmoid(x) - 1),
    ("vanilla", "real"): (lambda x: -math.log(sigmoid(x)), lambda x: sigmoid(x) - 1),
    ("vanilla", "fake"): (lambda x: -math.log(1 - sigmoid(x)), lambda x: sigmoid(x)),
}


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def random_logits(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 1, 3, 2, generator=generator, dtype=torch.float64) * 2


def test_every_kind_has_all_three_terms_under_test() -> None:
    assert sorted(LITERAL) == sorted((kind, term) for kind in GAN_KINDS for term in LOSSES)


@pytest.mark.parametrize(("kind", "term"), LITERAL)
def test_term_and_its_gradient_equal_the_formula_summed_logit_by_logit(
    kind: str, term: str
) -> None:
    logits = random_logits(0).requires_grad_()
    loss = LOSSES[term](kind, logits)
    loss.backward()
    value, slope = LITERAL[kind, term]
    expected, gradient, count = 0.0, torch.zeros_like(logits), logits.numel()
    for n in range(2):
        for h in range(3):
            for w in range(2):
                expected += value(logits[n, 0, h, w].item()) / count
                gradient[n, 0, h, w] = slope(logits[n, 0, h, w].item()) / count
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(logits.grad, gradient, rtol=1e-5, atol=1e-12)


def test_vanilla_terms_are_equation_7_with_its_student_weight() -> None:
    # E log D(y) + E log(1 - D(T(x))) + lam_stu E log(1 - D(S(x))), which D maximizes
    real, teacher_fake, student_fake = (random_logits(seed) for seed in (1, 2, 3))
    lambda_student = 0.7
    objective = 0.0
    for y, t, s in zip(real.flatten(), teacher_fake.flatten(), student_fake.flatten(), strict=True):
        objective += math.log(sigmoid(y.item())) / real.numel()
        objective += math.log(1 - sigmoid(t.item())) / real.numel()
        objective += lambda_student * math.log(1 - sigmoid(s.item())) / real.numel()
    minimized = (
        discriminator_real_loss("vanilla", real)
        + discriminator_fake_loss("vanilla", teacher_fake)
        + lambda_student * discriminator_fake_loss("vanilla", student_fake)
    )
    assert minimized.item() == pytest.approx(-objective, rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "term", "value"),
    [
        ("lsgan", "generator", 2.5),  # (0-1)^2, (3-1)^2
        ("lsgan", "real", 2.5),
        ("lsgan", "fake", 4.5),  # 0, 9
        ("hinge", "generator", -1.5),
        ("hinge", "real", 0.5),  # 1, 0
        ("hinge", "fake", 2.5),  # 1, 4
        ("vanilla", "fake", (math.log(2) + math.log1p(math.exp(3))) / 2),
    ],
)
def test_logits_0_and_3_give_the_value_worked_out_by_hand(
    kind: str, term: str, value: float
) -> None:
    assert LOSSES[term](kind, torch.tensor([0.0, 3.0])).item() == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("kind", GAN_KINDS)
def test_a_discriminator_that_is_right_with_certainty_pays_nothing(kind: str) -> None:
    right = {"lsgan": (1.0, 0.0), "hinge": (1.0, -1.0), "vanilla": (200.0, -200.0)}
    real, fake = (torch.full((2, 1, 2, 2), logit) for logit in right[kind])
    assert discriminator_real_loss(kind, real).item() == 0
    assert discriminator_fake_loss(kind, fake).item() == 0


def test_vanilla_stays_finite_and_keeps_its_gradient_at_logits_that_saturate_a_sigmoid() -> None:
    logits = torch.tensor([-1000.0], requires_grad=True)
    loss = generator_loss("vanilla", logits)
    loss.backward()
    assert loss.item() == 1000
    assert logits.grad is not None
    assert logits.grad.item() == -1


@pytest.mark.parametrize("kind", GAN_KINDS)
@pytest.mark.parametrize("term", LOSSES)
def test_half_precision_logits_are_averaged_in_float32(kind: str, term: str) -> None:
    logits = torch.linspace(-2, 2, 4001).to(torch.bfloat16)
    loss = LOSSES[term](kind, logits)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(LOSSES[term](kind, logits.double()).item(), abs=1e-5)


@pytest.mark.parametrize("loss", LOSSES.values())
def test_an_unknown_kind_is_refused_and_the_known_ones_named(
    loss: Callable[[str, Tensor], Tensor],
) -> None:
    with pytest.raises(ValueError, match=r"'wgan'.*lsgan, hinge, vanilla"):
        loss("wgan", torch.zeros(1))


@pytest.mark.parametrize("kind", GAN_KINDS)
@pytest.mark.parametrize(
    ("player", "name"), [("generator", "real/G"), ("real", "real/D"), ("fake", "fake/D")]
)
def test_terms_are_those_of_the_published_code(kind: str, player: str, name: str) -> None:
    logits = g((2, 1, 6, 6), 20).requires_grad_()
    assert_value_and_gradient(LOSSES[player](kind, logits), f"gan/{kind}/{name}", logits)
