"""What a student's image and its teacher's look like to VGG: weighted feature and style terms."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gancomp.errors import ConfigError
from gancomp.losses.feature import feature_loss, style_loss
from gancomp.losses.perceptual import PerceptualFeatures
from gancomp.methods.shared_options import PerceptualOptions


def perceptual_taps(options: PerceptualOptions) -> tuple[str, ...]:
    """The VGG taps of those terms that have a weight, in the network's order."""
    wanted = set(options.feature_taps if options.lambda_feature > 0 else ())
    wanted |= set(options.style_taps if options.lambda_style > 0 else ())
    return tuple(sorted(wanted))


def check_perceptual(options: PerceptualOptions) -> None:
    """Checks that whatever has a weight has taps.

    Raises:
        ConfigError: naming the setting without taps.
    """
    for weight, taps in (("lambda_feature", "feature_taps"), ("lambda_style", "style_taps")):
        if getattr(options, weight) > 0 and not getattr(options, taps):
            raise ConfigError(
                f"method.options.{taps}: is empty; name VGG16 taps or set `{weight}` 0"
            )


def perceptual_losses(
    network: PerceptualFeatures | None,
    options: PerceptualOptions,
    teacher_fake: Tensor,
    student_fake: Tensor,
) -> dict[str, Tensor]:
    """DCD's eq. 3: the weighted terms between two images; none without a network.

    Args:
        network: VGG, frozen.
        options: weights and taps.
        teacher_fake: `(N, 3, H, W)` in [-1, 1]; no gradient flows into it.
        student_fake: of the same shape.
    """
    if network is None:
        return {}
    with torch.no_grad():
        teacher = network(teacher_fake)
    return weighted_terms(options, teacher, network(student_fake))


def weighted_terms(
    options: PerceptualOptions, teacher: Mapping[str, Tensor], student: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The same of maps that are there already, by tap: `feature` (eq. 4) and `style` (eq. 5)."""
    losses: dict[str, Tensor] = {}
    if options.lambda_feature > 0:
        maps = _pick(teacher, options.feature_taps), _pick(student, options.feature_taps)
        losses["feature"] = options.lambda_feature * feature_loss(*maps)
    if options.lambda_style > 0:
        maps = _pick(teacher, options.style_taps), _pick(student, options.style_taps)
        style = style_loss(*maps, reduction=options.style_reduction)
        losses["style"] = options.lambda_style * style
    return losses


def _pick(maps: Mapping[str, Tensor], taps: tuple[str, ...]) -> list[Tensor]:
    return [maps[tap] for tap in taps]
