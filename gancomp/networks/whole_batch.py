"""Layers that look at a whole batch, or draw for it, where each rank has only a share of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gancomp.errors import ConfigError
from gancomp.ranks import Ranks, current


def look_at_whole_batches(network: nn.Module) -> None:
    """Has the layers within `network` normalize over, and draw for, the batches of all ranks.

    Weights, state and what they do at rest stay as they are.

    Raises:
        ConfigError: for norms that nobody has taught to do so.
    """
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = WholeBatchNorm2d
        elif type(module) is nn.Dropout:
            module.__class__ = WholeBatchDropout
        elif isinstance(module, _BatchNorm | nn.modules.dropout._DropoutNd) and not isinstance(
            module, WholeBatchNorm2d | WholeBatchDropout
        ):
            raise ConfigError(
                f"several processes: {type(module).__name__} in {type(network).__name__} would "
                "look at each process's share of a batch alone; start one process"
            )


class WholeBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose statistics, in training, are those of all ranks' images."""

    def forward(self, input: Tensor) -> Tensor:
        """`(N, C, H, W)` to the same shape, layout and type."""
        ranks = current()
        if ranks.size == 1 or not self.training:
            return super().forward(input)
        momentum = 0.0 if self.momentum is None else self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                momentum = 1.0 / float(self.num_batches_tracked)
        normed = normalized(
            input, self.running_mean, self.running_var, momentum=momentum, eps=self.eps, ranks=ranks
        )
        if not self.affine:
            return normed
        weight, bias = (item[:, None, None].to(normed.dtype) for item in (self.weight, self.bias))
        return torch.addcmul(bias, normed, weight)


def normalized(
    features: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    *,
    momentum: float,
    eps: float,
    ranks: Ranks,
) -> Tensor:
    """`features` with mean 0 and variance 1 in each channel over all ranks' images.

    Args:
        features: `(N, C, H, W)`, this rank's share; all have as many.
        mean: `(C,)`, the running mean, which follows.
        variance: `(C,)`, the running variance, which follows the unbiased one.
        momentum: how much this batch counts in them.
        eps: added to the variance.
        ranks: whose images count; one collective, and one for the gradient.

    Returns: the same shape and type; statistics are computed in float32 at least.
    """
    exact = features.float() if features.dtype in (torch.bfloat16, torch.float16) else features
    own_variance, own_mean = torch.var_mean(exact, dim=(0, 2, 3), correction=0)
    both = ranks.gathered(torch.stack([own_mean, own_variance])[None])
    means, variances = both[:, 0], both[:, 1]
    batch_mean = means.mean(0)
    # of equal shares: the mean variance within, and that of the means
    batch_variance = variances.mean(0) + (means - batch_mean).square().mean(0)
    if mean is not None and variance is not None:
        count = ranks.size * features.numel() / features.shape[1]
        with torch.no_grad():
            mean.lerp_(batch_mean.to(mean.dtype), momentum)
            unbiased = batch_variance * (count / max(count - 1, 1))
            variance.lerp_(unbiased.to(variance.dtype), momentum)
    scale = torch.rsqrt(batch_variance + eps)[:, None, None]
    return ((exact - batch_mean[:, None, None]) * scale).to(features.dtype)


class WholeBatchDropout(nn.Dropout):
    """`nn.Dropout` that draws for all ranks' images, as one process does, and keeps its share."""

    def forward(self, input: Tensor) -> Tensor:
        """The same shape, layout and type."""
        ranks = current()
        if ranks.size == 1 or not self.training or not 0 < self.p < 1:
            return super().forward(input)
        last = input.dim() == 4 and input.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        shape = (ranks.size * input.shape[0], *input.shape[1:])
        drawn = torch.empty(shape, dtype=input.dtype, device=input.device, memory_format=layout)
        kept = drawn.bernoulli_(1 - self.p).div_(1 - self.p)
        return input * ranks.own(kept)
