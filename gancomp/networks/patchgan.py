"""The PatchGAN discriminator: one logit per overlapping patch of the image."""

from __future__ import annotations

from typing import Any

from torch import nn

from gancomp.networks.base import SequentialNetwork, construct
from gancomp.networks.layers import CONV_BEFORE
from gancomp.networks.settings import MAX_LAYERS, check_count, check_norm, norm_layer


class PatchGAN(SequentialNetwork):
    """4x4 convolutions, strided but for the last two, LeakyReLU between, no sigmoid at the end.

    Maps `(N, in, H, W)` to logits `(N, 1, h, w)`; with 3 layers 256x256 gives 30x30 logits that
    see 70x70 pixels each. Tap by default: the LeakyReLU before the last convolution.

    Source: Isola et al. 2017 (pix2pix).
    """

    size_multiple = 1

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__("patchgan", settings)
        norm, num_layers = settings["norm"], settings["layers"]
        self.width = settings["width"]
        layers: list[nn.Module] = [
            nn.Conv2d(settings["in_channels"], self.width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
        ]
        channels = self.width
        for depth in range(1, num_layers + 1):
            previous, channels = channels, self.width * min(2**depth, 8)
            stride = 2 if depth < num_layers else 1
            layers += [
                CONV_BEFORE[norm](
                    previous, channels, 4, stride, padding=1, bias=norm == "instance"
                ),
                norm_layer(norm, channels),
                nn.LeakyReLU(0.2),
            ]
        layers.append(nn.Conv2d(channels, 1, 4, padding=1))
        self.model = nn.Sequential(*layers)
        self.default_taps = (f"model.{len(layers) - 2}",)
        self.tap_channels = {self.default_taps[0]: channels}


def patchgan(
    width: int = 64, *, in_channels: int = 3, norm: str = "instance", layers: int = 3
) -> PatchGAN:
    """The discriminator of CycleGAN and pix2pix.

    Args:
        width: ndf; the convolutions have 1, 2, 4 and then 8 times it.
        in_channels: channels of what it judges; condition and image together for pix2pix.
        norm: `"instance"` or `"batch"`.
        layers: strided convolutions; 3 see 70x70 pixels.

    Raises:
        ConfigError: for a setting that no network can be built with.
    """
    check_count("`width`", width)
    check_count("`in_channels`", in_channels)
    check_norm(norm)
    check_count("layers", layers, at_most=MAX_LAYERS)
    settings = {"width": width, "in_channels": in_channels, "norm": norm, "layers": layers}
    return construct(lambda: PatchGAN(settings))
