from __future__ import annotations

import pytest
import torch
from builders import small_generator

from gancomp.errors import ConfigError
from gancomp.methods.matched_taps import MatchedTaps


def test_pairs_stand_in_forward_order_with_the_teachers_maps_detached() -> None:
    matched = MatchedTaps(small_generator(4), small_generator(2, "student"))
    teacher = {
        tap: torch.ones(1, requires_grad=True) * k for k, tap in enumerate(matched.of_teacher)
    }
    student = {
        tap: torch.ones(1, requires_grad=True) * k for k, tap in enumerate(matched.of_student)
    }
    pairs = matched.pairs(teacher, student)
    assert [(one.item(), other.item()) for one, other in pairs] == [(k, k) for k in range(4)]
    assert not any(one.requires_grad for one, _ in pairs)
    assert all(other.requires_grad for _, other in pairs)


def test_adaptors_bring_the_students_channels_to_the_teachers_and_follow_from_seed_and_role() -> (
    None
):
    matched = MatchedTaps(small_generator(4), small_generator(2, "student"))
    maps = {tap: torch.ones(1, 8, 4, 4) for tap in matched.of_student}
    one, same = matched.adaptors("conv", 0), matched.adaptors("conv", 0)
    other = matched.adaptors("conv", 0, "others")
    assert {value.shape[1] for value in one(maps).values()} == {16}
    assert torch.equal(one.by_tap[0].weight, same.by_tap[0].weight)
    assert not torch.equal(one.by_tap[0].weight, other.by_tap[0].weight)


def test_networks_of_two_families_are_refused_by_their_taps_or_by_their_sizes() -> None:
    unet = small_generator(2, "student", arch="unet128", norm="batch")
    with pytest.raises(ConfigError, match="`student_arch` unet128: its maps"):
        MatchedTaps(small_generator(4), unet).sizes(128)
    unet.tap_channels = {}
    with pytest.raises(ConfigError, match="`student_arch` unet128: its taps cannot be matched"):
        MatchedTaps(small_generator(4), unet)


def test_sizes_are_those_of_the_maps() -> None:
    assert MatchedTaps(small_generator(4), small_generator(2, "student")).sizes(32) == [(8, 8)] * 4
