"""What a synthesis run's settings come to: the published ones, and those of the short presets."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthesis_builders import planned

from gancomp.settings import Json
from gancomp.training.stages import stages_of


def test_stylegan2_has_the_published_settings_by_default(photos: Path) -> None:
    data = {"dataset": str(photos), "task": "synthesis"}
    plan = planned("distill", {"data": data})
    settings, options = plan.settings, plan.options
    assert (plan.preset["name"], settings.method.name) == ("dgl", "dgl")
    teacher, student = settings.teacher.network, settings.student
    assert student is not None
    assert (teacher.arch, teacher.width, teacher.resolution) == ("stylegan2", 512, 256)
    assert (student.width, student.const_channels, student.mapping_layers) == (256, 512, 8)
    assert settings.discriminator.arguments() == {"width": 512, "resolution": 256}
    adam = settings.optimizer
    assert (adam.lr, adam.beta1, adam.beta2, adam.eps) == (0.002, 0.0, 0.99, 1e-8)
    assert (settings.data.batch_size, settings.data.flip, settings.data.load_size) == (
        32,
        True,
        256,
    )
    assert (options.lambda_dgl, options.teacher_discriminator) == (0.1, "frozen")
    assert (options.path_weight, options.path_every, options.r1_every) == (2.0, 4, 16)
    assert (options.style_mixing, options.ema_kimg, options.accumulation) == (0.9, 10.0, 1)
    assert options.r1_gamma == 10
    # 60,000 kimg in all, the last 25,000 under the teacher
    assert settings.schedule.max_steps == 25_000_000 // 32
    steps = [stage.steps for stage in stages_of(settings, options)]
    assert steps == [60_000_000 // 32, 35_000_000 // 32]
    assert settings.adversarial.gan == "vanilla"
    assert settings.perceptual.source == "none"


def test_biggan_has_the_published_settings_by_default(photos: Path, classes: Path) -> None:
    data = {"dataset": str(classes), "task": "synthesis"}
    plan = planned("distill", {"data": data}, arch="biggan")
    settings, options = plan.settings, plan.options
    teacher, student = settings.teacher.network, settings.student
    assert student is not None
    assert (teacher.width, teacher.resolution, teacher.num_classes) == (96, 128, 2)
    assert (student.arch, student.width, student.num_classes) == ("biggan", 48, 2)
    discriminator = settings.discriminator
    assert (discriminator.arch, discriminator.width) == ("biggan-discriminator", 96)
    assert discriminator.num_classes == 2
    adam = settings.optimizer
    assert (adam.lr, options.d_lr, adam.beta1, adam.beta2, adam.eps) == (
        1e-4, 4e-4, 0.0, 0.999, 1e-6,
    )  # fmt: skip
    assert (settings.data.batch_size, options.accumulation) == (2048, 8)
    assert (options.ema_beta, options.ema_start) == (0.9999, 20_000)
    assert (options.r1_gamma, options.path_weight, options.style_mixing) == (0, 0, 0)
    assert settings.adversarial.gan == "hinge"
    one = {"data": {"dataset": str(photos), "task": "synthesis"}}
    plan = planned("pretrain", one, arch="biggan")
    assert plan.settings.teacher.network.num_classes == 1


@pytest.mark.parametrize(
    ("command", "preset", "typed_gamma", "gamma", "flip"),
    [
        ("pretrain", "standard", None, 10, True),
        ("distill", "dgl", None, 10, True),
        ("pretrain", "standard-church", None, 100, False),
        ("distill", "dgl-church", None, 100, False),
        ("distill", "dgl", "auto", 0.0002 * 256**2 / 32, True),
        ("distill", "dgl-church", 3.0, 3, False),
        ("distill", "dgl-short", None, 0.0002 * 32**2 / 16, True),
    ],
)
def test_r1_has_the_published_weight_and_its_rule_for_sizes_another_name(
    command: str, preset: str, typed_gamma: float | str | None, gamma: float, flip: bool,
    photos: Path,
) -> None:  # fmt: skip
    values: Json = {"data": {"dataset": str(photos), "task": "synthesis"}}
    values["method"] = {"preset": preset}
    if typed_gamma is not None:
        values["method"]["options"] = {"r1_gamma": typed_gamma}
    plan = planned(command, values)
    assert plan.options.r1_gamma == pytest.approx(gamma)
    assert plan.settings.method.options["r1_gamma"] == plan.options.r1_gamma
    assert plan.settings.data.flip == flip


@pytest.mark.parametrize(
    ("command", "preset", "arch"),
    [("pretrain", "synthesis-short", "stylegan2"), ("distill", "dgl-short", "stylegan2"),
     ("distill", "dgl-short", "biggan")],
)  # fmt: skip
def test_the_short_presets_are_small(command: str, preset: str, arch: str, photos: Path) -> None:
    values = {
        "data": {"dataset": str(photos), "task": "synthesis"}, "method": {"preset": preset}
    }  # fmt: skip
    plan = planned(command, values, arch=arch)
    network, settings = plan.settings.teacher.network, plan.settings
    assert (settings.data.size, settings.schedule.max_steps) == (32, 10_000)
    assert stages_of(settings, plan.options) == stages_of(settings, plan.options)
    if arch == "stylegan2":
        assert network.arguments() == {
            "width": 64, "resolution": 32, "style_channels": 64, "mapping_layers": 2,
            "const_channels": 64,
        }  # fmt: skip
        assert plan.options.r1_gamma == pytest.approx(0.0128)
        assert plan.options.ema_kimg == 1
