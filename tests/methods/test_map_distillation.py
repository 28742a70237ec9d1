"""FitNet, MGD and ReviewKD within DCD: all but the maps' term is DCD's, and that is the paper's."""

from __future__ import annotations

import pytest
import torch
from builders import random_step, small_method, small_task
from torch import Tensor

from gancomp.losses.maps import adapted_map_loss, generated_map_loss, pyramid_loss
from gancomp.methods.adaptors import AttentionFusion, GenerationBlock
from gancomp.methods.fitnet import Fitnet
from gancomp.methods.map_distillation import MapDistillation
from gancomp.methods.mgd import Mgd
from gancomp.methods.reviewkd import ReviewKd

NAMES = ("fitnet", "mgd", "reviewkd")
Maps = list[Tensor]


def built(name: str, **options: object) -> MapDistillation:
    method = small_method(name, small_task(frozen=True), perceptual=False, **options)
    assert isinstance(method, MapDistillation)
    return method


def maps_of(method: MapDistillation) -> tuple[Maps, Maps]:
    """Fresh maps of both networks at their taps, shallowest first."""
    step = random_step()
    teacher = method.task.teacher(step).taps.values()
    return list(teacher), list(method.translate(step).taps.values())


@pytest.mark.parametrize("name", NAMES)
def test_all_other_terms_are_dcds(name: str) -> None:
    found, wanted = (
        small_method(kind, small_task(frozen=True)).losses("student", random_step())
        for kind in (name, "dcd")
    )
    assert list(found) == [*list(wanted)[:-1], name]
    assert list(wanted)[-1] == "dcd"
    assert all(torch.equal(found[term], wanted[term]) for term in list(wanted)[:-1])


@pytest.mark.parametrize("name", NAMES)
def test_the_weight_multiplies_the_maps_term_and_zero_leaves_it_out(name: str) -> None:
    flag = f"lambda_{name}"
    one, three = (
        built(name, **{flag: weight}).losses("student", random_step())[name]
        for weight in (1.0, 3.0)
    )
    assert three.item() == pytest.approx(3 * one.item())
    none = built(name, **{flag: 0.0})
    assert name not in none.losses("student", random_step())
    assert none.task.recorded_taps == ()
    assert [phase.name for phase in none.phases()] == ["discriminator", "student"]


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_reaches_student_and_adaptors_and_nothing_else(name: str) -> None:
    method = built(name)
    method.losses("student", random_step())[name].backward()
    reached = {key for key, item in method.named_parameters() if item.grad is not None}
    assert {key.split(".")[0] for key in reached} == {"student", "adaptors"}
    deepest = [item for key, item in method.adaptors.named_parameters() if "att_conv" not in key]
    assert all(item.grad is not None for item in deepest)


def test_fitnets_maps_go_through_one_convolution_each() -> None:
    method = built("fitnet", lambda_fitnet=1.0)
    assert isinstance(method, Fitnet)
    teacher, student = maps_of(method)
    adapted = [adapt(item) for adapt, item in zip(method.adaptors.by_tap, student, strict=True)]
    wanted = adapted_map_loss(teacher, adapted)
    assert method.map_loss(random_step(), teacher, student).item() == pytest.approx(wanted.item())


@pytest.mark.parametrize("mask", ["positions", "channels"])
def test_mgd_rebuilds_each_map_from_what_is_not_masked(mask: str) -> None:
    method = built("mgd", mask=mask, dropped=0.5)
    assert isinstance(method, Mgd)
    teacher, student = maps_of(method)
    drawn: dict[str, dict[str, Tensor]] = {}
    step = random_step(index=3)
    step.held = lambda name, compute: drawn.setdefault(name, compute(step.index))
    value = method.map_loss(step, teacher, student)
    assert len(drawn) == len(teacher) == 4
    total = torch.zeros(())
    for block, uniform, wanted, item in zip(
        method.adaptors, drawn.values(), teacher, student, strict=True
    ):
        assert isinstance(block, GenerationBlock)
        assert uniform["uniform"].shape == block.uniform_shape(item)
        total = total + generated_map_loss(wanted, block(item, uniform["uniform"]))
    assert value.item() == pytest.approx(total.item())


def test_mgds_masks_differ_from_step_to_step_and_from_tap_to_tap_and_come_again() -> None:
    method = built("mgd")
    assert isinstance(method, Mgd)
    like = torch.zeros(1, 2, 4, 4)
    shape = (1, 1, 4, 4)
    first = method._uniform(random_step(0), 0, shape, like)
    assert torch.equal(first, method._uniform(random_step(0), 0, shape, like))
    assert not torch.equal(first, method._uniform(random_step(1), 0, shape, like))
    assert not torch.equal(first, method._uniform(random_step(0), 1, shape, like))


def test_without_generation_the_channels_that_are_kept_are_compared() -> None:
    method = built("mgd", generation=False, dropped=0.15)
    teacher, student = maps_of(method)
    adapted = list(method.adaptors(dict(zip(method.matched.of_student, student, strict=True)))
                   .values())  # fmt: skip
    assert method.map_loss(random_step(), adapted, student).item() == 0
    value = method.map_loss(random_step(), [item + 1 for item in adapted], student)
    assert value.item() == pytest.approx(len(teacher), rel=1e-5)
    values = []
    for channel in range(num := adapted[0].shape[1]):
        shifted = [item.clone() for item in adapted]
        shifted[0][:, channel] += 1
        values.append(method.map_loss(random_step(), shifted, student).item())
    masked = round(0.15 * num)
    assert masked > 0
    wanted = [0.0] * masked + [1 / (num - masked)] * (num - masked)
    assert sorted(values) == pytest.approx(wanted, rel=1e-5)


def test_reviewkd_mixes_from_the_deepest_tap_and_compares_in_a_pyramid() -> None:
    method = built("reviewkd")
    assert isinstance(method, ReviewKd)
    assert isinstance(method.adaptors, AttentionFusion)
    teacher, student = maps_of(method)
    wanted = pyramid_loss(teacher, method.adaptors(student))
    assert method.map_loss(random_step(), teacher, student).item() == pytest.approx(wanted.item())


def test_as_dcds_authors_had_it_the_taps_are_mixed_by_their_names() -> None:
    method = built("reviewkd", pyramid=False, fusion_order="names")
    assert isinstance(method, ReviewKd)
    names = method.matched.of_teacher
    assert names == ("model.9", "model.11", "model.13", "model.15")
    # the last is mixed first: 9, then the deepest
    assert [names[index] for index in method._order()][::-1] == [
        "model.9",
        "model.15",
        "model.13",
        "model.11",
    ]
    teacher, student = maps_of(method)
    order = method._order()
    fused = method.adaptors([student[index] for index in order])
    wanted = adapted_map_loss([teacher[index] for index in order], fused)
    assert method.map_loss(random_step(), teacher, student).item() == pytest.approx(wanted.item())
