"""Adaptors, MGD's generation block and ReviewKD's fusion, with the released code's numbers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from golden_values import assert_golden, assert_value_and_gradient, fill, g, golden, u
from torch import Tensor, nn

from gancomp.losses.maps import generated_map_loss, pyramid_loss
from gancomp.methods.adaptors import Adaptors, AttentionFusion, FusionStep, GenerationBlock

MASKS: dict[str, dict[str, Any]] = {
    "det": {"mask": "positions", "dropped": 0.65, "weight": 2e-5},
    "seg": {"mask": "positions", "dropped": 0.75, "weight": 2e-5},
    "cls": {"mask": "channels", "dropped": 0.15, "weight": 7e-5},
}


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def shapes(module: nn.Module) -> list[list[Any]]:
    return [[name, list(tensor.shape)] for name, tensor in module.state_dict().items()]


@pytest.mark.parametrize("channels", [16, 32])
@pytest.mark.parametrize("task", MASKS)
def test_masked_generation_is_that_of_mgds_released_code(task: str, channels: int) -> None:
    settings = dict(MASKS[task])
    weight = settings.pop("weight")
    name = f"mgd/{task} student {channels} channels"
    block = GenerationBlock(channels, 32, **settings, generator=seeded())
    assert shapes(block) == golden(name)["keys"]
    assert sum(p.numel() for p in block.parameters()) == golden(name)["params"]
    block = fill(block, 100)
    teacher, student = g((2, 32, 12, 10), 30), g((2, channels, 12, 10), 40).requires_grad_()
    value = weight * generated_map_loss(
        teacher, block(student, u(block.uniform_shape(student), 50))
    )
    assert_value_and_gradient(value, name, student)
    first = next(block.generation.parameters())
    assert_value_and_gradient(value, name, first, key="grad_generation0")


def steps() -> tuple[FusionStep, FusionStep]:
    return (
        fill(FusionStep(16, 24, 32, fuse=False), 200),
        fill(FusionStep(16, 24, 32, fuse=True), 300),
    )


def test_a_fusion_step_is_that_of_reviewkds_released_code() -> None:
    deepest, fusing = steps()
    residual = None
    names = ("deepest (no fusion)", "fusing 16x16 with the 8x8 residual above")
    inputs = g((2, 16, 8, 8), 70), g((2, 16, 16, 16), 71)
    for step, features, name in zip((deepest, fusing), inputs, names, strict=True):
        entry = golden(f"reviewkd/ABF {name}")["value"]
        assert shapes(step) == entry["keys"]
        output, residual = step(features, residual)
        assert_golden(output, entry["out"])
        assert_golden(residual, entry["residual"])


def fusion() -> AttentionFusion:
    return AttentionFusion([16] * 4, [32] * 4, mid_channels=16, generator=seeded())


def test_fusion_of_four_taps_is_that_of_reviewkds_released_code() -> None:
    network = fusion()
    for k, step in enumerate(network.by_tap):
        fill(step, 400 + 100 * k)
    student = [g((2, 16, 16, 16), 40 + k).requires_grad_() for k in range(4)]
    teacher = [g((2, 32, 16, 16), 30 + k) for k in range(4)]
    entry = golden(name := "reviewkd/4 equal-size taps")
    fused = network(student)
    for output, expected in zip(fused, entry["results"], strict=True):
        assert_golden(output, expected)
    value = pyramid_loss(teacher, fused)
    assert_value_and_gradient(value, name, student[0])
    assert_value_and_gradient(value, name, student[3], key="grad_S3")
    taps = [pyramid_loss([t], [f]) for t, f in zip(teacher, fused, strict=True)]
    assert_golden(torch.stack(taps), entry["per_tap"])
    assert sum(p.numel() for p in network.parameters()) == entry["params"]


@pytest.mark.parametrize("kind", ["conv", "conv-without-bias", "conv-bn-relu"])
def test_adaptors_give_each_tap_the_teachers_channels(kind: Any) -> None:
    student, teacher = {"model.9": 4, "model.12": 6}, {"model.9": 8, "model.12": 10}
    adaptors = Adaptors(student, teacher, kind=kind, generator=seeded())
    maps = {tap: torch.ones(2, channels, 3, 3) for tap, channels in student.items()}
    assert {tap: m.shape[1] for tap, m in adaptors(maps).items()} == teacher
    biases = [name for name, _ in adaptors.named_parameters() if name.endswith("bias")]
    assert bool(biases) == (kind != "conv-without-bias")
    assert all(p.requires_grad for p in adaptors.parameters())


BUILDERS = {
    "adaptors": lambda r: Adaptors({"a": 2}, {"a": 3}, kind="conv-bn-relu", generator=r),
    "generation": lambda r: GenerationBlock(2, 3, generator=r),
    "fusion": lambda r: AttentionFusion([2, 2], [3, 3], generator=r),
}


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_weights_come_from_the_given_generator_alone(build: Any) -> None:
    before = torch.get_rng_state()
    first, second = (copy.deepcopy(build(seeded())).state_dict() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.isfinite(value).all() for value in first.values())


def test_fusion_hands_shallower_taps_what_is_behind_them_but_not_the_reverse() -> None:
    network = AttentionFusion([2, 4], [3, 5], generator=seeded())
    maps = [g((1, 2, 8, 8), 1).float(), g((1, 4, 4, 4), 2).float()]
    wide, deep = (m.requires_grad_() for m in maps)
    outputs = network([wide, deep])
    assert [tuple(o.shape) for o in outputs] == [(1, 3, 8, 8), (1, 5, 4, 4)]
    outputs[1].square().sum().backward()
    assert wide.grad is None
    network([wide, deep])[0].square().sum().backward()
    assert wide.grad is not None


def gradient_of(block: nn.Module, student: Tensor, uniform: Tensor) -> Tensor:
    return torch.autograd.grad(block(student, uniform).sum(), student)[0]


def test_nothing_passes_where_everything_is_masked() -> None:
    block = GenerationBlock(2, 3, dropped=0.65, generator=seeded())
    student = torch.ones(1, 2, 4, 4, requires_grad=True)
    shape = block.uniform_shape(student)
    assert shape == (1, 1, 4, 4)
    assert not gradient_of(block, student, torch.full(shape, 0.36)).any()
    assert gradient_of(block, student, torch.full(shape, 0.34)).any()


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\['a'\] and \['b'\] differ"):
        Adaptors({"a": 1}, {"b": 1}, kind="conv", generator=seeded())
    unknown: Any = "pixels"
    with pytest.raises(ValueError, match="'pixels'.*positions or channels"):
        GenerationBlock(1, 1, mask=unknown, generator=seeded())
    with pytest.raises(ValueError, match=r"share 1\.0"):
        GenerationBlock(1, 1, dropped=1.0, generator=seeded())
    with pytest.raises(ValueError, match="2 taps of the student and 1"):
        AttentionFusion([1, 1], [1], generator=seeded())
