"""DMAD's masks: the released values and gradients, and what the curve and its bound are."""

from __future__ import annotations

import pytest
import torch
from golden_values import assert_golden, g, golden, u
from torch import Tensor

from gancomp.losses.masks import (
    bound_at,
    closing_loss,
    in_band,
    leaving_loss,
    mask_of,
    shared_coefficients,
)

WEIGHTS = (-1.2, -0.7, -0.5, -0.3, -0.1, 0.0, 0.05, 0.2, 0.5, 0.6, 0.9, -0.05)
BOUNDS = (1.0, 0.5, 0.2, 0.004, 0.0)
SPARSITY = "dmad/total sparsity loss (before mask_weight_decay)"


@pytest.fixture
def weights() -> Tensor:
    return torch.tensor(WEIGHTS, dtype=torch.float64, requires_grad=True)


def gradient(value: Tensor, wrt: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(value, wrt, retain_graph=True)
    return found


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_mask_is_the_released_one_in_value_and_gradient(bound: float, weights: Tensor) -> None:
    wanted = golden(f"dmad/mask bound {bound}")["value"]
    mask = mask_of(weights, bound)
    assert torch.allclose(mask, torch.tensor(wanted["mask"], dtype=torch.float64), atol=1e-12)
    features = g((2, 12, 4, 4), 70).requires_grad_()
    output = features * mask.view(1, -1, 1, 1)
    assert_golden(output, wanted["out"])
    loss = (output * g((2, 12, 4, 4), 71)).sum()
    assert_golden(gradient(loss, features), wanted["grad_x"])
    if bound > 0:
        found = gradient(loss, weights)
        expected = torch.tensor(wanted["grad_w"], dtype=torch.float64)
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bound", [bound for bound in BOUNDS if bound])
def test_sparsity_terms_are_the_released_ones(bound: float, weights: Tensor) -> None:
    wanted = golden(f"dmad/mask bound {bound}")["value"]
    shared = closing_loss(weights, bound, 0.5 + u((12,), 77))
    pairs = [
        (closing_loss(weights, bound), wanted["decay"]["relu"]),
        (leaving_loss(weights, bound), wanted["decay"]["bound"]),
        (shared, wanted["block_decay"]),
    ]
    for value, expected in pairs:
        if bound == 0.5 and expected is wanted["block_decay"]:
            assert expected["value"] == 0  # a slip of the released code, which leaves it out
            assert value > 0
            continue
        assert float(value.detach()) == pytest.approx(expected["value"], rel=1e-9)
        found = gradient(value, weights)
        assert torch.allclose(found, torch.tensor(expected["grad"], dtype=torch.float64), atol=1e-9)


def test_the_bound_falls_as_released() -> None:
    wanted = golden("dmad/bound at iterations 1,100,500,1000,1500,1501,2000 of 2000 (cube rule)")
    found = [bound_at(step, 2000) for step in (1, 100, 500, 1000, 1500, 1501, 2000)]
    assert found == pytest.approx(wanted["value"], rel=1e-12)
    seen = {bound_at(step, 20_000, updates=150) for step in range(1, 15_001)}
    assert 149 <= len(seen) <= 151


def test_the_whole_sparsity_loss_is_the_released_one() -> None:
    wanted = golden(SPARSITY)["value"]
    sizes = {"model.3": 4, "model.7": 8, "model.24": 8, "model.28": 4}
    layers = {
        name: (0.6 * g((sizes.get(name, 16),), 8000 + index)).requires_grad_()
        for index, name in enumerate(wanted["masks"])
    }
    residual = [name for name in layers if name == "model.11" or name.endswith(".8")]
    coefficients = shared_coefficients([layers[name] for name in residual], 0.4, 5.0)
    assert coefficients.tolist() == wanted["block_coeff"]
    total = torch.zeros((), dtype=torch.float64)
    for (name, values), kind in zip(layers.items(), wanted["types"], strict=True):
        if kind == "bound":
            total = total + 200 * leaving_loss(values, 0.4)
        else:
            own = coefficients if name in residual else None
            total = total + closing_loss(values, 0.4, own)
    assert float(total.detach()) == pytest.approx(wanted["total"], rel=1e-9)
    found = [float(gradient(total, values).abs().sum()) for values in layers.values()]
    assert found == pytest.approx(wanted["grad_abs"], rel=1e-9)


def test_a_mask_rises_from_0_to_1_across_its_band() -> None:
    values = torch.linspace(-2, 2, 401, dtype=torch.float64)
    mask = mask_of(values, 0.7)
    assert (mask.diff() >= 0).all()
    assert mask[0] == 0
    assert mask[-1] == 1
    inside = in_band(values, 0.7)
    assert (mask[~inside & (values < 0)] == 0).all()
    assert (mask[~inside & (values > 0)] == 1).all()
