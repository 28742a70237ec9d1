"""GAN-Compression: what each term is made of, and whose discriminator plays against whom."""

from __future__ import annotations

import pytest
import torch
from builders import random_step, small_generator, small_method, small_task, snapshot
from torch import Tensor

from gancomp.errors import ConfigError
from gancomp.losses.gan import discriminator_fake_loss, discriminator_real_loss, generator_loss
from gancomp.losses.maps import adapted_map_loss
from gancomp.methods.gan_compression import GanCompression
from gancomp.methods.gan_compression_options import PRESETS
from gancomp.metrics.cost import measure_cost
from gancomp.registry import build_network


def built(task: str = "unpaired", pool_size: int = 0, **options: object) -> GanCompression:
    frozen = small_task(task, frozen=True, pool_size=pool_size)
    method = small_method("gan-compression", frozen, **options)
    assert isinstance(method, GanCompression)
    return method


@pytest.mark.parametrize("task", ["unpaired", "paired"])
def test_the_image_is_compared_with_the_real_one_if_there_is_one(task: str) -> None:
    method, step = built(task, lambda_recon=2.0, lambda_distill=3.0), random_step()
    losses = method.losses("student", step)
    teacher, student = method.task.teacher(step), step.shared["student"]
    wanted = step.batch["target"] if task == "paired" else teacher.fake
    assert losses["recon"].item() == pytest.approx(2 * (student.fake - wanted).abs().mean().item())
    adapted = [
        adapt(features)
        for adapt, features in zip(method.adaptors.by_tap, student.taps.values(), strict=True)
    ]
    distance = adapted_map_loss(list(teacher.taps.values()), adapted)
    assert losses["distill"].item() == pytest.approx(3 * distance.item())
    logits = method.own.network(method.task.discriminator_input(step, student.fake))
    kind = method.task.settings.gan
    assert losses["gan"].item() == pytest.approx(generator_loss(kind, logits).item())


def test_the_students_discriminator_sees_real_images_and_the_students() -> None:
    method, step = built("paired"), random_step()
    losses = method.losses("student_discriminator", step)
    fake = step.shared["student"].fake
    real, shown = (
        method.own.network(torch.cat([step.batch["source"], images], dim=1))
        for images in (step.batch["target"], fake)
    )
    kind = method.task.settings.gan
    wanted = (discriminator_real_loss(kind, real), discriminator_fake_loss(kind, shown))
    assert list(losses) == ["real", "fake"]
    assert [term.item() for term in losses.values()] == pytest.approx(
        [term.item() / 2 for term in wanted]
    )


def test_the_students_discriminator_is_shown_no_older_images() -> None:
    """As the released distillers of GAN-Compression and CAT, which have no pool."""
    method = built(pool_size=1)
    for index in range(5):  # from the second on, a pool would show the first now and then
        step = random_step(index, seed=index)
        losses = method.losses("student_discriminator", step)
        logits = method.own.network(step.shared["student"].fake)
        wanted = discriminator_fake_loss(method.task.settings.gan, logits).item() / 2
        assert losses["fake"].item() == pytest.approx(wanted)


def test_it_starts_with_the_teachers_weights_unless_told_otherwise() -> None:
    def same(method: GanCompression) -> bool:
        pairs = zip(
            method.task.discriminator.parameters(), method.own.network.parameters(), strict=True
        )
        return all(torch.equal(theirs, own) for theirs, own in pairs)

    assert same(built())
    assert not same(built(warm_discriminator=False))
    method = built()
    own = {item.data_ptr() for item in method.own.network.parameters()}
    assert own.isdisjoint(item.data_ptr() for item in method.task.discriminator.parameters())


def test_the_teachers_discriminator_takes_no_part() -> None:
    method = built()
    before = snapshot({"": method.task.discriminator})
    step = random_step()
    total = sum(
        (term for phase in method.phases() for term in method.losses(phase.name, step).values()),
        torch.zeros(()),
    )
    assert isinstance(total, Tensor)
    total.backward()
    assert all(item.grad is None for item in method.task.discriminator.parameters())
    after = snapshot({"": method.task.discriminator})
    assert all(torch.equal(value, before[key]) for key, value in after.items())


def test_terms_without_weight_are_not_computed() -> None:
    method = built(lambda_recon=0.0, lambda_distill=0.0)
    assert method.task.recorded_taps == ()
    assert list(method.losses("student", random_step())) == ["gan"]


@pytest.mark.parametrize(
    ("dataset", "macs", "params"),
    [
        ("horse2zebra", 2_525_233_152, 356_867),
        ("edges2shoes", 4_961_599_488, 822_051),
        ("cityscapes", 5_560_074_240, 780_819),
    ],
)
def test_the_rows_have_the_shapes_of_the_released_scripts(
    dataset: str, macs: int, params: int
) -> None:
    (row,) = [row for row in PRESETS if row.dataset == dataset]
    cost = measure_cost(build_network(row.arch, norm="instance", **row.student), (1, 3, 256, 256))
    assert (cost.macs_torchprofile, cost.params) == (macs, params)


def test_networks_whose_maps_differ_are_refused() -> None:
    method = small_method("gan-compression", small_task(frozen=True, generator=strided()))
    with pytest.raises(ConfigError, match="`student_arch` mobile-resnet6: its maps"):
        method.check_size(64)


def strided() -> torch.nn.Module:
    generator = small_generator()
    generator.default_taps = ("model.6", *generator.default_taps[1:])
    generator.tap_channels = dict(
        zip(generator.default_taps, (8, *list(generator.tap_channels.values())[1:]), strict=True)
    )
    return generator
