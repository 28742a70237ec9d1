"""Penalties on the gradients of a discriminator and of a generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gancomp.losses.precision import at_least_float32

PATH_DECAY = 0.01  # of the running mean of path lengths


def r1_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """How steep a discriminator is at real images; without the weight `gamma / 2`.

    Args:
        logits: `(N, 1)`, of `images` and differentiably so.
        images: `(N, C, H, W)`, with `requires_grad`.

    Returns: the squared norm of each logit's gradient by its image, averaged over the images; can
        be differentiated again. In float32 at least.

    Source: Mescheder et al. 2018, eq. 9.
    """
    (gradient,) = torch.autograd.grad(at_least_float32(logits).sum(), images, create_graph=True)
    return at_least_float32(gradient).square().sum((1, 2, 3)).mean()


def path_lengths(images: Tensor, styles: Tensor, noise: Tensor) -> Tensor:
    """How far each image moves, in the direction `noise`, as its styles do: `(N,)`.

    Args:
        images: `(N, C, H, W)`, differentiably from `styles`.
        styles: `(N, L, S)`, of which each image follows L rows.
        noise: of the shape of `images`, from N(0, 1); divided by the root of H W here.

    Returns: the length of the gradient of `<images, noise>` by the styles, the root of its mean
        square over the rows; can be differentiated again. In float32 at least.

    Source: Karras et al. 2020 (StyleGAN2), eq. 4, and their release for the mean over rows.
    """
    height, width = images.shape[2:]
    projected = (at_least_float32(images) * noise).sum() / math.sqrt(height * width)
    (gradient,) = torch.autograd.grad(projected, styles, create_graph=True)
    return at_least_float32(gradient).square().sum(2).mean(1).sqrt()


def path_length_penalty(
    lengths: Tensor, mean: Tensor, decay: float = PATH_DECAY
) -> tuple[Tensor, Tensor]:
    """How unequal path lengths are, and their running mean with these included.

    Args:
        lengths: `(N,)`, from `path_lengths`.
        mean: `()`, what the running mean was.
        decay: how much these lengths count in it.

    Returns: the mean square of what each length differs from the new running mean, without weight;
        and that running mean, without gradient. As in the release, the penalty's gradient takes
        into account that the running mean follows the lengths.

    Source: Karras et al. 2020 (StyleGAN2), eq. 4.
    """
    new_mean = mean.lerp(lengths.mean(), decay)
    return (lengths - new_mean).square().mean(), new_mean.detach()
