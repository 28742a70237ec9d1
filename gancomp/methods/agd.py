"""AutoGAN-Distiller (ICML 2020): the teacher's images are all that the student learns from.

The search for cells and widths is `gancomp.shrink.agd`; the student is what it has found, or any
other generator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.engine.phases import Phase, Step
from gancomp.errors import ConfigError
from gancomp.losses.feature import feature_loss
from gancomp.losses.image import total_variation
from gancomp.losses.maps import texture_loss
from gancomp.losses.perceptual import PerceptualFeatures
from gancomp.methods.agd_options import AgdOptions
from gancomp.methods.apprentice import Apprentice
from gancomp.methods.base import Components

CONTENT_TAP = "relu2_2"
STYLE_TAPS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")


class Agd(Apprentice):
    """L1, Gram and content terms between the student's image and the teacher's; no discriminator.

    The student learns by SGD with clipped gradients.
    """

    name = "agd"
    shared_by_ranks = True
    paper = "AutoGAN-Distiller: Searching to Compress Generative Adversarial Networks, ICML 2020"
    Options = AgdOptions
    replayable = False  # a graph reads its rates from the device, which torch's SGD does not

    def __init__(self, components: Components, options: AgdOptions) -> None:
        super().__init__(components)
        self.options = options
        seen = self.perceptual is not None and options.lambda_gram + options.lambda_content > 0
        if not seen and options.lambda_base == 0:
            raise ConfigError(
                "`method` agd: the student has no loss term: give `lambda_base` a weight, or "
                "`lambda_gram` or `lambda_content` one and `perceptual` a network"
            )
        student = Phase("student", self.student, descent(self.student, options))
        self._phases = self.begin_with_teacher(components, [student])

    @staticmethod
    def perceptual_taps(options: AgdOptions) -> tuple[str, ...]:
        """Four for the Gram matrices, one for the content."""
        if options.lambda_gram > 0:
            return STYLE_TAPS
        return (CONTENT_TAP,) if options.lambda_content > 0 else ()

    def own_losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """The student's terms; what has no weight is not computed."""
        fake = self.student(step.batch["source"])
        return agd_losses(
            self.options, self.perceptual, self.task.teacher(step).fake.detach(), fake
        )


def agd_losses(
    options: AgdOptions,
    perceptual: PerceptualFeatures | None,
    teacher: Tensor,
    student: Tensor,
    wanted: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The weighted terms `base`, `gram`, `content` and `tv`, as far as they have a weight.

    Args:
        options: weights.
        perceptual: VGG16 without ImageNet's normalization, or None: neither `gram` nor `content`.
        teacher: `(N, C, H, W)` in [-1, 1].
        student: of the same shape.
        wanted: the maps of `teacher`, if they are known.

    Source: Fu et al. 2020 (AGD), eq. 4 and its released code.
    """
    losses = {}
    if options.lambda_base > 0:
        losses["base"] = options.lambda_base * F.l1_loss(student, teacher)
    if perceptual is not None and options.lambda_gram + options.lambda_content > 0:
        if wanted is None:
            with torch.no_grad():
                wanted = perceptual(teacher)
        found = perceptual(student)
        if options.lambda_gram > 0:
            maps = [wanted[tap] for tap in STYLE_TAPS], [found[tap] for tap in STYLE_TAPS]
            losses["gram"] = options.lambda_gram * texture_loss(*maps)
        if options.lambda_content > 0:
            content = feature_loss([wanted[CONTENT_TAP]], [found[CONTENT_TAP]])
            losses["content"] = options.lambda_content * content
    if options.lambda_tv > 0:
        losses["tv"] = options.lambda_tv * total_variation(student)
    return losses


def descent(module: nn.Module, options: AgdOptions) -> torch.optim.SGD:
    """SGD over `module` as the options say, whose gradients are clipped before each step."""
    optimizer = torch.optim.SGD(
        module.parameters(),
        lr=options.student_lr,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
    )
    return clipped(optimizer, module, options.clip_norm)


Descent = TypeVar("Descent", bound=torch.optim.Optimizer)


def clipped(optimizer: Descent, module: nn.Module, norm: float) -> Descent:
    """The optimizer, before whose steps the gradient of all of `module` is cut to `norm`."""

    def clip(*_: object) -> None:
        nn.utils.clip_grad_norm_(module.parameters(), norm)

    if norm > 0:
        optimizer.register_step_pre_hook(clip)
    return optimizer
