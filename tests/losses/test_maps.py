"""Each method's distance of feature maps against the numbers of the code it was released with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from golden_values import (
    assert_golden,
    assert_value_and_gradient,
    fill,
    g,
    golden,
    image_pair,
    img,
    vgg,
)
from torch import Tensor, nn

from gancomp.losses.feature import feature_loss
from gancomp.losses.gan import discriminator_fake_loss, discriminator_real_loss, generator_loss
from gancomp.losses.image import total_variation
from gancomp.losses.maps import (
    _resized,
    adapted_map_loss,
    alignment_loss,
    channel_distillation_loss,
    co_attention_loss,
    content_loss,
    generated_map_loss,
    kernel_alignment,
    map_distance,
    pyramid_loss,
    texture_loss,
)
from gancomp.networks.patchgan import patchgan

Maps = list[Tensor]
SUMMED: dict[str, Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]] = {
    "adapted": adapted_map_loss,
    "channels": channel_distillation_loss,
    "pyramid": pyramid_loss,
    "content": content_loss,
    "root content": lambda t, s: content_loss(t, s, distance="rmse"),
    "texture": texture_loss,
    "root texture": lambda t, s: texture_loss(t, s, distance="rmse"),
    "generated": lambda t, s: generated_map_loss(t[0], s[0]),
    "distance": lambda t, s: map_distance(t[0], s[0]),
}
each_summed = pytest.mark.parametrize("loss", SUMMED.values(), ids=SUMMED)


def stored_maps(num_images: int, *, first: int = 0) -> tuple[Maps, Maps]:
    """Four taps of a teacher with 32 channels and of a student with 16."""
    teacher = [g((num_images, 32, 16, 16), 30 + first + i) for i in range(4)]
    student = [g((num_images, 16, 16, 16), 40 + first + i).requires_grad_() for i in range(4)]
    return teacher, student


def adapted(student: Maps, layer: Callable[[], nn.Module]) -> tuple[Maps, list[nn.Module]]:
    adaptors = [fill(layer(), 2000 + 100 * i) for i in range(4)]
    return [adapt(s) for adapt, s in zip(adaptors, student, strict=True)], adaptors


def test_channel_distillation_is_that_of_the_released_code_and_the_papers_mean_a_quarter() -> None:
    teacher, student = stored_maps(1)
    layers = lambda: nn.Sequential(nn.Conv2d(16, 32, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())  # noqa: E731
    maps, adaptors = adapted(student, layers)
    name = "omgd/channel distillation (sum of 4 taps, lambda 1)"
    value = channel_distillation_loss(teacher, maps, reduction="sum")
    assert_value_and_gradient(value, name, student[0])
    assert_value_and_gradient(value, name, student[3], key="grad_S3")
    assert_value_and_gradient(value, name, next(adaptors[0].parameters()), key="grad_conv0")
    taps = [channel_distillation_loss([t], [s]) for t, s in zip(teacher, maps, strict=True)]
    assert_golden(torch.stack(taps), golden("omgd/channel distillation per tap")["value"])
    assert channel_distillation_loss(teacher, maps).item() == pytest.approx(value.item() / 4)


def test_adapted_maps_differ_as_in_gan_compressions_released_code() -> None:
    teacher, student = stored_maps(2)
    maps, adaptors = adapted(student, lambda: nn.Conv2d(16, 32, 1))
    name = "gc/distill MSE, sum of 4 taps"
    value = adapted_map_loss(teacher, maps)
    assert_value_and_gradient(value, name, student[0])
    assert_value_and_gradient(value, name, student[3], key="grad_S3")
    assert_value_and_gradient(value, name, next(adaptors[0].parameters()), key="grad_A0")
    taps = [adapted_map_loss([t], [s]) for t, s in zip(teacher, maps, strict=True)]
    assert_golden(torch.stack(taps), golden(name)["per_tap"])


@pytest.mark.parametrize("layout", ["unaligned", "aligned"])
def test_gan_compressions_objectives_are_those_of_the_released_code(layout: str) -> None:
    paired = layout == "aligned"
    gan, weights = ("hinge", (100, 1)) if paired else ("lsgan", (10, 0.01))
    shape = (2, 3, 64, 64)
    teacher = img(shape, 1)
    student = (0.8 * teacher + 0.2 * img(shape, 2)).requires_grad_()
    source, target = img(shape, 3), img(shape, 4)
    discriminator = fill(patchgan(8, in_channels=6 if paired else 3), 1000)

    def judged(images: Tensor) -> Tensor:
        logits: Tensor = discriminator(torch.cat([source, images], 1) if paired else images)
        return logits

    maps_T, maps_S = stored_maps(2)
    maps, _ = adapted(maps_S, lambda: nn.Conv2d(16, 32, 1))
    name = f"gc/student objective {layout}"
    terms = {
        "gan": generator_loss(gan, judged(student)),
        "recon": weights[0] * feature_loss([target if paired else teacher], [student]),
        "distill": weights[1] * adapted_map_loss(maps_T, maps),
    }
    for kind, term in terms.items():
        assert_golden(term, golden(name)[kind])
    value = torch.stack(list(terms.values())).sum()
    assert_value_and_gradient(value, name, student)
    assert_value_and_gradient(value, name, maps_S[0], key="grad_S0")
    fake = discriminator_fake_loss(gan, judged(student.detach()))
    real = discriminator_real_loss(gan, judged(target))
    name = f"gc/D loss {layout}"
    assert_golden(torch.stack([fake, real]), [golden(name)[kind] for kind in ("fake", "real")])
    assert_value_and_gradient((fake + real) / 2, name, next(discriminator.parameters()))


@pytest.mark.parametrize(
    ("shape", "k"),
    [((2, 32, 16, 16), 0), ((2, 16, 4, 4), 1), ((2, 8, 6, 9), 2), ((2, 8, 1, 1), 3)],
)
def test_the_pyramids_distance_is_that_of_reviewkds_released_code(
    shape: tuple[int, ...], k: int
) -> None:
    teacher = g(shape, 30 + k)
    student = (0.5 * teacher + 0.5 * g(shape, 60 + k)).requires_grad_()
    value = pyramid_loss([teacher], [student])
    assert_value_and_gradient(value, f"reviewkd/hcl map {shape}", student)


def discriminator_features(
    teacher: Tensor, student: Tensor, discriminator: Any
) -> tuple[Maps, Maps]:
    found = [discriminator.features(x, ("model.4", "model.10")) for x in (teacher, student)]
    return list(found[0].values()), list(found[1].values())


def test_gccs_paired_objective_is_that_of_the_released_code() -> None:
    source, target = img((1, 3, 64, 64), 80), img((1, 3, 64, 64), 81)
    student, teacher = img((1, 3, 64, 64), 83).requires_grad_(), img((1, 3, 64, 64), 87)
    of_teacher = fill(patchgan(4, in_channels=6, norm="batch"), 7400).train()
    pairs = [torch.cat([source, image], 1) for image in (teacher, student)]
    maps_T, maps_S = stored_maps(1)
    maps, _ = adapted(maps_S, lambda: nn.Conv2d(16, 32, 1, bias=False))
    seen_T, seen_S = discriminator_features(*pairs, of_teacher)
    all_T, all_S = [*maps_T, *seen_T], [*maps, *seen_S]
    name = "gcc/pix2pix [texture, content] per feature, unweighted (4 G taps, 2 D taps)"
    values = [
        [loss([t], [s], distance="rmse").item() for loss in (texture_loss, content_loss)]
        for t, s in zip(all_T, all_S, strict=True)
    ]
    assert_golden(torch.tensor(values, dtype=torch.float64), golden(name)["value"])
    smallest = torch.stack([features.min() for features in seen_T])
    assert_golden(smallest, golden("gcc/minimum of hooked D features")["value"])
    name = "gcc/pix2pix generator objective with distillation"
    terms = {
        "l1": 100 * feature_loss([target], [student]),
        "gram": 1e4 * texture_loss(all_T, all_S, distance="rmse"),
        "content": 50 * content_loss(all_T, all_S, distance="rmse"),
    }
    for kind, term in terms.items():
        assert_golden(term, golden(name)[kind])
    (gradient,) = torch.autograd.grad(torch.stack(list(terms.values())).sum(), maps_S[0])
    assert_golden(gradient, golden(name)["grad_S0"])


def test_gccs_unpaired_terms_are_those_of_the_released_code() -> None:
    student, teacher = img((1, 3, 64, 64), 83), img((1, 3, 64, 64), 87)
    maps_T, maps_S = stored_maps(1)
    maps, _ = adapted(maps_S, lambda: nn.Conv2d(16, 32, 1, bias=False))
    seen_T, seen_S = discriminator_features(teacher, student, fill(patchgan(4), 7000).train())
    all_T, all_S = [*maps_T, *seen_T], [*maps, *seen_S]
    values = [
        [loss([t], [s]).item() for loss in (texture_loss, content_loss)]
        for t, s in zip(all_T, all_S, strict=True)
    ]
    name = "gcc/CycleGAN [texture, content] per feature A side, unweighted"
    assert_golden(torch.tensor(values, dtype=torch.float64), golden(name)["value"])
    texture, content = 10 * texture_loss(all_T, all_S), 0.01 * content_loss(all_T, all_S)
    entry = golden("gcc/CycleGAN generator objective with distillation")
    assert_golden(texture, entry["gram_A"])
    assert_golden(content, entry["content_A"])
    (gradient,) = torch.autograd.grad(texture + content, maps_S[0])
    assert_golden(gradient, entry["grad_SA0"])


def test_co_attention_is_that_of_dmads_released_code() -> None:
    total, gradient_to = torch.zeros(()), []
    for side in range(2):
        teacher, student = (
            [g((2, 32, 16, 16), 30 + 4 * side + i) for i in range(4)],
            [g((2, 16, 16, 16), 40 + 4 * side + i).requires_grad_() for i in range(4)],
        )
        watched = g((2, 8, 16, 16), 48 + side).requires_grad_()
        value = co_attention_loss(teacher, student, watched, detach_target=False)
        total = total + value
        gradient_to.append((student[0], watched))
        if side == 0:
            taps = [
                co_attention_loss([t], [s], watched) for t, s in zip(teacher, student, strict=True)
            ]
            name = "dmad/co-attention per tap, A->B"
            assert_golden(torch.stack(taps), golden(name)["value"])
    name = "dmad/co-attention loss, both directions, unweighted"
    assert_value_and_gradient(total, name, gradient_to[0][0])
    assert_value_and_gradient(total, name, gradient_to[0][1], key="grad_DA")


def test_co_attention_of_a_u_net_is_that_of_dmads_released_code() -> None:
    sides = (64, 16, 16, 64)
    teacher = [g((2, 8, side, side), 60 + i) for i, side in enumerate(sides)]
    student = [g((2, 4, side, side), 64 + i).requires_grad_() for i, side in enumerate(sides)]
    watched = (0.7 * g((2, 8, 64, 64), 68)).requires_grad_()
    value = co_attention_loss(teacher, student, watched, detach_target=False, eight_bits=True)
    name = "dmad/co-attention pix2pix U-Net, unweighted"
    # the released code goes through float32 there
    assert_value_and_gradient(value, name, student[0], rel=1e-7)
    assert_value_and_gradient(value, name, student[1], rel=1e-6, key="grad_S1")
    assert_value_and_gradient(value, name, watched, rel=1e-7, key="grad_D")
    attention = watched.detach().square().mean(1, keepdim=True)
    resized = _resized(attention, torch.Size((16, 16)), True)
    assert resized.shape == (1, 1, 16, 16)
    assert_golden(resized, golden("dmad/pix2pix 16x16 D attention")["value"], rel=1e-7)


def test_the_distance_of_discriminator_maps_is_that_of_dmads_released_code() -> None:
    shape = (2, 8, 7, 7)
    students = [g(shape, k).requires_grad_() for k in (92, 93)]
    total = sum(map_distance(g(shape, 94 + k), s) for k, s in enumerate(students))
    assert isinstance(total, Tensor)
    name = "dmad/discriminator distillation, both directions, unweighted"
    assert_value_and_gradient(total, name, students[0])


def test_kernel_alignment_is_that_of_cats_released_code() -> None:
    student = g((3, 16, 8, 8), 40).requires_grad_()
    assert_value_and_gradient(kernel_alignment(g((3, 32, 8, 8), 30), student), "cat/KA", student)
    student = g((1, 16, 8, 8), 40).requires_grad_()
    value = kernel_alignment(g((1, 32, 8, 8), 30), student)
    assert_golden(value, golden("cat/KA batch 1")["value"])
    assert torch.autograd.grad(value, student)[0].abs().max() < 1e-15
    base = g((4, 16, 8, 8), 41).requires_grad_()
    other = F.relu(base.detach()) + 0.1 * g((4, 16, 8, 8), 42)
    assert_value_and_gradient(
        kernel_alignment(other, F.relu(base)), "cat/KA related maps", base, rel=1e-8
    )  # 1 minus the value is 3e-5: that many digits cancel in the gradient


def test_alignment_over_replicas_is_the_sum_over_parts_of_the_batch() -> None:
    teacher, student = [g((4, 3, 2, 2), 1)], [g((4, 5, 2, 2), 2)]
    parts = [kernel_alignment(teacher[0][k : k + 2], student[0][k : k + 2]) for k in (0, 2)]
    value = alignment_loss(teacher, student, replicas=2)
    assert value.item() == pytest.approx(-torch.stack(parts).sum().item(), rel=1e-12)
    with pytest.raises(ValueError, match="4 images cannot be shared by 5 replicas"):
        alignment_loss(teacher, student, replicas=5)
    with pytest.raises(ValueError, match="batches of 4 and 3"):
        kernel_alignment(teacher[0], student[0][:3])


def test_alignment_ignores_a_factor_and_a_rotation_of_the_features() -> None:
    teacher = g((3, 4, 2, 2), 1)
    assert kernel_alignment(teacher, -2 * teacher.flip(1)).item() == pytest.approx(1, abs=1e-12)
    assert alignment_loss([teacher] * 2, [teacher] * 2).item() == pytest.approx(-2, abs=1e-12)


def test_agds_criterion_is_that_of_the_released_code() -> None:
    teacher, student = image_pair()
    maps_T, maps_S = vgg()(teacher), vgg()(student)
    style = 1e5 * texture_loss(list(maps_T.values()), list(maps_S.values()))
    content = feature_loss([maps_T["relu2_2"]], [maps_S["relu2_2"]])
    base, variation = feature_loss([teacher], [student]), total_variation(student)
    values = {
        "search (0,1e5,1,0)": style + content,
        "train (1e-2,1e5,1,0)": 0.01 * base + style + content,
        "style only": style,
        "content only": content,
        "base only": base,
        "tv only": variation,
    }
    for kind, value in values.items():
        assert_value_and_gradient(value, f"agd/criterion {kind}", student)


@each_summed
def test_equal_maps_give_zero_and_a_finite_gradient(loss: Callable[[Maps, Maps], Tensor]) -> None:
    teacher = [g((2, 3, 5, 6), k) for k in range(2)]
    student = [features.clone().requires_grad_() for features in teacher]
    value = loss(teacher, student)
    assert value.item() == 0
    assert not torch.autograd.grad(value, student[0])[0].any()


@each_summed
def test_gradient_reaches_the_student_only(loss: Callable[[Maps, Maps], Tensor]) -> None:
    teacher, student = (
        [g((2, 3, 5, 6), 10 * side + k).requires_grad_() for k in range(2)] for side in range(2)
    )
    loss(teacher, student).backward()
    assert all(features.grad is None for features in teacher)
    assert student[0].grad is not None
    assert student[0].grad.abs().sum() > 0


def test_co_attention_ignores_a_factor_and_stops_at_the_target() -> None:
    teacher, watched = [g((2, 3, 4, 4), 1).requires_grad_()], g((2, 5, 4, 4), 2).requires_grad_()
    student = [g((2, 2, 4, 4), 3).requires_grad_()]
    value = co_attention_loss(teacher, student, watched)
    scaled = co_attention_loss(teacher, [3 * student[0]], watched)
    assert scaled.item() == pytest.approx(value.item(), rel=1e-12)
    value.backward()
    assert teacher[0].grad is watched.grad is None
    assert student[0].grad is not None
    # the same attention on both sides of the mean is matched exactly
    assert co_attention_loss(teacher, teacher, teacher[0]).item() == 0


def test_a_discriminators_attention_of_another_size_is_averaged_over_areas() -> None:
    teacher, student = [g((1, 3, 4, 4), 1)], [g((1, 2, 4, 4), 3)]
    fine = g((1, 5, 8, 8), 2)
    coarse = F.avg_pool2d(fine.square().mean(1, keepdim=True), 2).sqrt()
    values = [co_attention_loss(teacher, student, watched).item() for watched in (fine, coarse)]
    assert values[0] == pytest.approx(values[1], rel=1e-12)
    with pytest.raises(ValueError, match=r"\(4, 4\), \(2, 2\)"):
        co_attention_loss(teacher, [student[0][..., :2, :2]], fine)


def test_generated_maps_are_summed_by_hand() -> None:
    teacher, generated = torch.zeros(2, 1, 2, 2), torch.full((2, 1, 2, 2), 3.0)
    assert generated_map_loss(teacher, generated).item() == 36


@each_summed
def test_half_precision_is_compared_in_float32(loss: Callable[[Maps, Maps], Tensor]) -> None:
    teacher, student = ([g((2, 3, 5, 6), 7 + k).bfloat16()] for k in range(2))
    value = loss(teacher, student)
    exact = loss([teacher[0].double()], [student[0].double()])
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)


def test_what_does_not_match_or_does_not_exist_is_refused() -> None:
    maps = [torch.zeros(1, 2, 4, 4)]
    for loss in (adapted_map_loss, channel_distillation_loss, pyramid_loss, texture_loss):
        with pytest.raises(ValueError, match="0 taps and the student 0"):
            loss([], [])
    with pytest.raises(ValueError, match="1 taps and the student 0"):
        co_attention_loss(maps, [], maps[0])
    with pytest.raises(ValueError, match="0 taps"):
        alignment_loss([], [])
    with pytest.raises(ValueError, match=r"tap 0: .*\(1, 2, 4, 4\).*\(1, 2, 4, 3\)"):
        content_loss(maps, [maps[0][..., :3]])
    unknown: Any = "max"
    with pytest.raises(ValueError, match="'max'.*mean or sum"):
        channel_distillation_loss(maps, maps, reduction=unknown)
    with pytest.raises(ValueError, match="'max'.*mse or rmse"):
        content_loss(maps, maps, distance=unknown)
