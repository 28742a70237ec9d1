"""The adversarial terms, one function per player, unweighted: halves and lambdas are the task's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gancomp.losses.precision import at_least_float32

GAN_KINDS = ("lsgan", "hinge", "vanilla")


def generator_loss(kind: str, fake_logits: Tensor) -> Tensor:
    """How far a generator is from fooling the discriminator, averaged over all logits.

    `lsgan`: mean of `(logit - 1)^2`; `hinge`: mean of `-logit`, which can be negative;
    `vanilla`: mean of `-log sigmoid(logit)`, the non-saturating form.

    Args:
        kind: one of `GAN_KINDS`.
        fake_logits: any shape; the discriminator's output for generated images, before a sigmoid.

    Returns:
        A scalar, at least float32.

    Raises:
        ValueError: if `kind` is unknown.

    Source: Mao et al. 2017, eq. 9 (lsgan); Lim and Ye 2017 (hinge); Goodfellow et al. 2014,
    section 3 (vanilla). Equation 7 of DCD writes the saturating `log(1 - D)`; no release trains
    with it.
    """
    logits = at_least_float32(fake_logits)
    match kind:
        case "lsgan":
            return F.mse_loss(logits, torch.ones_like(logits))
        case "hinge":
            return -logits.mean()
        case "vanilla":
            return F.softplus(-logits).mean()
    raise _unknown(kind)


def discriminator_real_loss(kind: str, logits: Tensor) -> Tensor:
    """How far the discriminator is from accepting real images, averaged over all logits.

    `lsgan`: mean of `(logit - 1)^2`; `hinge`: mean of `max(0, 1 - logit)`;
    `vanilla`: mean of `-log sigmoid(logit)`.

    Args:
        kind: one of `GAN_KINDS`.
        logits: any shape; the discriminator's output for real images, before a sigmoid.

    Returns:
        A scalar, at least float32.

    Raises:
        ValueError: if `kind` is unknown.

    Source: as `generator_loss`; DCD eq. 7, first term.
    """
    logits = at_least_float32(logits)
    match kind:
        case "lsgan":
            return F.mse_loss(logits, torch.ones_like(logits))
        case "hinge":
            return F.relu(1 - logits).mean()
        case "vanilla":
            return F.softplus(-logits).mean()
    raise _unknown(kind)


def discriminator_fake_loss(kind: str, logits: Tensor) -> Tensor:
    """How far the discriminator is from rejecting generated images, averaged over all logits.

    `lsgan`: mean of `logit^2`; `hinge`: mean of `max(0, 1 + logit)`;
    `vanilla`: mean of `-log(1 - sigmoid(logit))`.

    Args:
        kind: one of `GAN_KINDS`.
        logits: any shape; the discriminator's output for generated images (detached from their
            generator by the caller), before a sigmoid.

    Returns:
        A scalar, at least float32.

    Raises:
        ValueError: if `kind` is unknown.

    Source: as `generator_loss`; DCD eq. 7, second and third term.
    """
    logits = at_least_float32(logits)
    match kind:
        case "lsgan":
            return F.mse_loss(logits, torch.zeros_like(logits))
        case "hinge":
            return F.relu(1 + logits).mean()
        case "vanilla":
            return F.softplus(logits).mean()
    raise _unknown(kind)


def _unknown(kind: str) -> ValueError:
    return ValueError(f"unknown GAN loss {kind!r}; choose one of {', '.join(GAN_KINDS)}")
