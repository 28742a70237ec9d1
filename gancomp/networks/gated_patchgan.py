"""GCC's student discriminator: a PatchGAN whose channels are switched off by learnt gates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gancomp.errors import ConfigError
from gancomp.networks.base import SequentialNetwork, construct, draw_normal_weights
from gancomp.networks.layers import CONV_BEFORE
from gancomp.networks.settings import check_count, check_norm, norm_layer

NUM_NORMED = 3


class ChannelGate(nn.Module):
    """Lets a channel pass if its `alpha` is over the threshold, half of it at equality.

    The gradient of alpha is that of a factor before the channel, whether the gate is open or not
    ("straight through"); that of the channel passes open gates only.

    Source: Li et al. 2021 (GCC), eqs. 3 and 4; half at equality as in its released code.
    """

    def __init__(self, channels: int, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.alpha = nn.Parameter(torch.ones(channels))

    def mask(self) -> Tensor:
        """`(channels,)` of 0, 1/2 and 1."""
        return (torch.sign(self.alpha.detach() - self.threshold) + 1) / 2

    def forward(self, features: Tensor) -> Tensor:
        """`(N, channels, H, W)` to the same shape."""
        gated: Tensor = _StraightThrough.apply(features, self.alpha, self.mask())
        return gated


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, alpha: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(features, mask)
        return features * mask[:, None, None].to(features.dtype)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, None]:
        features, mask = ctx.saved_tensors
        by_alpha = (grad_output * features).sum((0, 2, 3)).to(mask.dtype)
        return grad_output * mask[:, None, None].to(grad_output.dtype), by_alpha, None


class GatedPatchGAN(SequentialNetwork):
    """PatchGAN with a gate behind its first LeakyReLU and before the three behind norms.

    Its weights and its gates are trained by turns: `weights()` and `gates()`. Maps `(N, in, H, W)`
    to logits `(N, 1, h, w)`. Tap by default: the LeakyReLU before the last convolution.

    Source: GCC, section 3.2. The released code uses BatchNorm for every task, even where the
    teacher's discriminator has InstanceNorm.
    """

    size_multiple = 1

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__("gated-patchgan", settings)
        norm, threshold = settings["norm"], settings["threshold"]
        self.width = channels = settings["width"]
        layers: list[nn.Module] = [
            nn.Conv2d(settings["in_channels"], channels, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            ChannelGate(channels, threshold),
        ]
        for depth in range(1, NUM_NORMED + 1):
            previous, channels = channels, 2 * channels
            stride = 2 if depth < NUM_NORMED else 1
            layers += [
                CONV_BEFORE[norm](
                    previous, channels, 4, stride, padding=1, bias=norm == "instance"
                ),
                norm_layer(norm, channels),
                ChannelGate(channels, threshold),
                nn.LeakyReLU(0.2),
            ]
        layers.append(nn.Conv2d(channels, 1, 4, padding=1))
        self.model = nn.Sequential(*layers)
        self.default_taps = (f"model.{len(layers) - 2}",)
        self.tap_channels = {self.default_taps[0]: channels}

    def draw_weights(self, generator: torch.Generator) -> None:
        """Draws weights as CycleGAN does and opens all gates."""
        draw_normal_weights(self, generator)
        for gate in self.gates():
            nn.init.ones_(gate)

    def gates(self) -> Iterator[nn.Parameter]:
        """Every `alpha`, first layer first."""
        return (module.alpha for module in self.modules() if isinstance(module, ChannelGate))

    def weights(self) -> Iterator[nn.Parameter]:
        """Every other parameter."""
        return (p for name, p in self.named_parameters() if not name.endswith(".alpha"))

    def clip_gates(self) -> None:
        """Puts every alpha back into [0, 1]; the released code does before a step of the gates."""
        with torch.no_grad():
            for gate in self.gates():
                gate.clamp_(0, 1)


def gated_patchgan(
    width: int = 64, *, in_channels: int = 3, norm: str = "batch", threshold: float = 0.5
) -> GatedPatchGAN:
    """GCC's discriminator of the student.

    Args:
        width: ndf; the convolutions have 1, 2, 4 and 8 times it.
        in_channels: channels of what it judges; condition and image together for pix2pix.
        norm: `"instance"` or `"batch"`.
        threshold: over which a channel passes; 0.5 (0.1 for SAGAN).

    Raises:
        ConfigError: for a setting that no network can be built with.
    """
    check_count("`d_width`", width)
    check_count("`in_channels`", in_channels)
    check_norm(norm)
    if not 0 <= threshold < 1:
        raise ConfigError(f"threshold {threshold!r}: must be at least 0 and below 1")
    settings = {
        "width": width,
        "in_channels": in_channels,
        "norm": norm,
        "threshold": threshold,
    }
    return construct(lambda: GatedPatchGAN(settings))
