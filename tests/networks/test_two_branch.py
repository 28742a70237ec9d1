"""OMGD's discriminator of two teachers against the released code's numbers."""

from __future__ import annotations

import pytest
import torch
from golden_values import assert_golden, fill, golden, img
from torch import Tensor

from gancomp.errors import ConfigError
from gancomp.networks.patchgan import patchgan
from gancomp.networks.two_branch import TwoBranchPatchGAN, two_branch_patchgan


def pair_of_images() -> Tensor:
    return torch.cat([img((1, 3, 64, 64), 61), img((1, 3, 64, 64), 62)], 1)


def gradients(network: TwoBranchPatchGAN) -> set[str]:
    network.zero_grad()
    network(pair_of_images().to(next(network.parameters()).dtype)).square().sum().backward()
    return {name for name, p in network.named_parameters() if p.grad is not None}


def test_both_branches_judge_as_the_released_code_does() -> None:
    network = fill(two_branch_patchgan(4), 3000)
    for number, teacher in enumerate(("wide", "deep"), start=1):
        network.judge(teacher)  # type: ignore[arg-type]
        entry = golden(f"omgd/two-branch D forward, teacher {number}, n_share 3")
        logits = network(pair_of_images())
        assert list(logits.shape) == entry["shape"]
        assert_golden(logits, entry["value"])


def test_the_deep_teacher_trains_its_own_branch_only_as_in_the_released_code() -> None:
    network = two_branch_patchgan(4)
    network.judge("deep")
    without = {name for name, _ in network.named_parameters()} - gradients(network)
    bias_before_norm = {f"block{k}s.1.block.0.bias" for k in (2, 3, 4)}
    expected = golden("omgd/two-branch D: parameters without gradient for teacher 2")["value"]
    assert without - bias_before_norm == set(expected)


@pytest.mark.parametrize("num_shared", range(6))
def test_shared_blocks_are_trained_by_both_and_their_other_branch_by_none(num_shared: int) -> None:
    network = two_branch_patchgan(2, num_shared=num_shared)
    weights = {}
    for teacher in ("wide", "deep"):
        network.judge(teacher)  # type: ignore[arg-type]
        weights[teacher] = {n for n in gradients(network) if n.endswith("weight")}
    shared = {f"block{k + 1}s.1.block.0.weight" for k in range(num_shared)}
    assert weights["wide"] & weights["deep"] == shared
    assert not any(f"block{k + 1}s.0." in n for k in range(num_shared) for n in weights["wide"])


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_branch_costs_what_a_patchgan_does_and_its_layers_are_the_same(norm: str) -> None:
    two, one = two_branch_patchgan(4, norm=norm), patchgan(4, in_channels=6, norm=norm)
    branches = [two.branch("deep", k).state_dict() for k in range(5)]
    assert [v.shape for state in branches for v in state.values()] == [
        value.shape for value in one.state_dict().values()
    ]
    total = sum(p.numel() for p in two.parameters())
    assert total == 2 * sum(p.numel() for p in one.parameters())
    assert [layer for layer in map(str, one.model)] == [
        str(layer) for k in range(5) for layer in two.branch("wide", k).block
    ]


def test_what_cannot_be_built_or_judged_is_refused() -> None:
    with pytest.raises(ConfigError, match="num_shared 6: must be a whole number from 0 to 5"):
        two_branch_patchgan(num_shared=6)
    with pytest.raises(ValueError, match="'narrow'; choose one of wide, deep"):
        two_branch_patchgan(2).judge("narrow")  # type: ignore[arg-type]


def test_settings_rebuild_the_network() -> None:
    network = two_branch_patchgan(2, in_channels=4, norm="batch", num_shared=1)
    again = two_branch_patchgan(**network.settings())
    assert list(again.state_dict()) == list(network.state_dict())
    assert again.num_shared == 1
