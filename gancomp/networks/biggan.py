"""BigGAN's generator: class-conditional, a chunk of the latent for every block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.errors import ConfigError
from gancomp.networks.attention import SelfAttention
from gancomp.networks.base import construct
from gancomp.networks.conditional_norm import ConditionalBatchNorm, PlainBatchNorm, StoredBatchNorm
from gancomp.networks.settings import MAX_CLASSES, check_count
from gancomp.networks.spectral import (
    SpectralConv2d,
    SpectralLinear,
    SpectralNorm,
    draw_orthogonal,
)
from gancomp.networks.synthesis import Latents, SynthesisGenerator

CHUNK = 20  # numbers of the latent per block
SHARED = 128  # channels of the class embedding that all blocks share
START = 4  # height and width that the first layer gives
LEAST_THRESHOLD = 0.01  # below it nearly every draw would have to be repeated


@dataclass(frozen=True)
class Layout:
    """What the blocks of a generator are like, by the size of its images.

    Attributes:
        channels: before the first block and after each one, in multiples of the width.
        attention: the block, counted from 0, behind which attention stands: where maps of 64
            pixels are, or of half the size of smaller images.
    """

    channels: tuple[int, ...]
    attention: int


LAYOUTS = {
    32: Layout((4, 4, 4, 4), attention=1),
    64: Layout((16, 16, 8, 4, 2), attention=2),
    128: Layout((16, 16, 8, 4, 2, 1), attention=3),
    256: Layout((16, 16, 8, 8, 4, 2, 1), attention=3),
}


class GeneratorBlock(nn.Module):
    """Two 3x3 convolutions on twice as many rows and columns, around them a 1x1 shortcut."""

    def __init__(self, inputs: int, outputs: int, condition: int, *, of_classes: bool) -> None:
        super().__init__()
        self.conv1 = SpectralConv2d(inputs, outputs, 3)
        self.conv2 = SpectralConv2d(outputs, outputs, 3)
        self.conv_sc = SpectralConv2d(inputs, outputs, 1)
        self.bn1 = ConditionalBatchNorm(inputs, condition, of_classes=of_classes)
        self.bn2 = ConditionalBatchNorm(outputs, condition, of_classes=of_classes)

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        """`(N, in, H, W)` and what the norms follow, `(N, 148)`, to `(N, out, 2H, 2W)`."""
        hidden = self.conv1(_doubled(F.relu(self.bn1(features, condition))))
        hidden = self.conv2(F.relu(self.bn2(hidden, condition)))
        output: Tensor = hidden + self.conv_sc(_doubled(features))
        return output


class BigGAN(SynthesisGenerator):
    """A linear layer to 4x4, a block per doubling, self-attention in between, tanh at the end.

    Maps `Latents` to images `(N, 3, resolution, resolution)` in [-1, 1]. The latent is cut into
    chunks of 20: one for the first layer and one for each block, where it joins the class embedding
    that all blocks share; other forms of the release are settings of `biggan`. Taps by default: the
    attended maps and the last block's.

    State keys are those of BigGAN's release.

    Source: Brock et al. 2019, appendix B.
    """

    num_classes: int

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__("biggan", settings)
        self.width, self.resolution = settings["width"], settings["resolution"]
        self.num_classes = settings["num_classes"]
        layout = LAYOUTS[self.resolution]
        channels = [self.width * times for times in layout.channels]
        num_blocks = len(channels) - 1
        self.chunk, shared = settings.get("chunk", CHUNK), settings.get("shared", SHARED)
        self.hierarchical = settings.get("hierarchical", True)
        self.latent_size = self.chunk * (num_blocks + 1 if self.hierarchical else 1)
        if shared:
            self.shared = nn.Embedding(settings["num_classes"], shared)
        self.linear = SpectralLinear(self.chunk, channels[0] * START**2)
        condition = shared + self.chunk * self.hierarchical if shared else self.num_classes
        self.blocks, self.tap_channels = nn.ModuleList(), {}
        for index, (inputs, outputs) in enumerate(zip(channels[:-1], channels[1:], strict=True)):
            layers: list[nn.Module] = [
                GeneratorBlock(inputs, outputs, condition, of_classes=not shared)
            ]
            if index in settings.get("attention", (layout.attention,)):
                layers.append(SelfAttention(outputs))
                self.tap_channels[f"blocks.{index}.1"] = outputs
            self.blocks.append(nn.ModuleList(layers))
        self.tap_channels[f"blocks.{num_blocks - 1}.0"] = channels[-1]
        self.default_taps = tuple(self.tap_channels)
        self.output_layer = nn.Sequential(
            PlainBatchNorm(channels[-1]), nn.ReLU(), SpectralConv2d(channels[-1], 3, 3)
        )

    def walk(self, latents: Latents) -> Iterator[tuple[str, Tensor]]:
        """Yields the layers' names, those of the state keys and `tanh`, and their outputs."""
        assert latents.classes is not None, "BigGAN makes images of a class"
        embedded = self.shared(latents.classes) if hasattr(self, "shared") else latents.classes
        first, *chunks = torch.split(latents.z, self.chunk, dim=1)
        output = self.linear(first).unflatten(1, (-1, START, START))
        yield "linear", output
        for index, block in enumerate(self.blocks):
            condition = torch.cat([embedded, chunks[index]], dim=1) if chunks else embedded
            assert isinstance(block, nn.ModuleList)
            for depth, layer in enumerate(block):
                output = layer(output, condition) if depth == 0 else layer(output)
                yield f"blocks.{index}.{depth}", output
        for index, layer in enumerate(self.output_layer):
            output = layer(output)
            yield f"output_layer.{index}", output
        yield "tanh", torch.tanh(output)

    def tap_names(self) -> tuple[str, ...]:
        """`linear`, `blocks.0.0` and on, `output_layer.0` and on, `tanh`."""
        blocks = [
            f"blocks.{index}.{depth}"
            for index, block in enumerate(self.blocks)
            if isinstance(block, nn.ModuleList)
            for depth in range(len(block))
        ]
        ends = [f"output_layer.{index}" for index in range(len(self.output_layer))]
        return ("linear", *blocks, *ends, "tanh")

    def draw_weights(self, generator: torch.Generator) -> None:
        """Orthogonal weights, biases 0, norms that do nothing yet, attention of no weight."""
        draw_weights(self, generator)

    def draw_latents(
        self,
        count: int,
        generator: torch.Generator,
        *,
        classes: Tensor | None = None,
        truncation: float | None = None,
        mixing: float = 0.0,
    ) -> Latents:
        """Random latents for `count` images, on the device of `generator`.

        Args:
            count: images.
            generator: source of all randomness.
            classes: `(count,)`; None draws them evenly.
            truncation: no number of `z` is further from 0; those that are get drawn again.
            mixing: without effect, as there are no styles to mix.

        Raises:
            ConfigError: for classes that the network does not have, or too low a truncation.

        Source: Brock et al. 2019, section 3.1 (the truncation trick).
        """
        device = generator.device
        if classes is None:
            classes = torch.randint(self.num_classes, (count,), generator=generator, device=device)
        else:
            check_classes(classes, self.num_classes)
        z = torch.randn(count, self.latent_size, generator=generator, device=device)
        if truncation is not None:
            _truncate(z, truncation, generator)
        return Latents(z, classes.to(device))


def biggan(
    width: int = 96,
    *,
    resolution: int = 128,
    num_classes: int = 1000,
    attention: Sequence[int] | None = None,
    chunk: int = CHUNK,
    shared: int = SHARED,
    hierarchical: bool = True,
) -> BigGAN:
    """The generator of BigGAN.

    Args:
        width: ch; the blocks have 1 to 16 times it (4 times at 32 pixels).
        resolution: height and width of the images: 32, 64, 128 or 256.
        num_classes: classes.
        attention: the blocks, counted from 0, behind which attention stands, if not the usual one.
        chunk: numbers of the latent for the first layer and, if hierarchical, for each block.
        shared: channels of the class embedding that all blocks share; 0: each has its own.
        hierarchical: whether blocks have a chunk of the latent; not without a shared embedding.

    Raises:
        ConfigError: for a setting that no network can be built with.
    """
    settings = check_settings("biggan", width, resolution, num_classes)
    if attention is not None:
        settings |= check_attention(attention, len(LAYOUTS[resolution].channels) - 1)
    check_count("chunk", chunk)
    check_count("shared", shared, at_least=0)
    if not isinstance(hierarchical, bool) or (hierarchical and not shared):
        raise ConfigError(
            f"hierarchical {hierarchical!r}: true needs a shared embedding, else false"
        )
    usual = {"chunk": CHUNK, "shared": SHARED, "hierarchical": True}
    given = {"chunk": chunk, "shared": shared, "hierarchical": hierarchical}
    settings |= {name: value for name, value in given.items() if value != usual[name]}
    return construct(lambda: BigGAN(settings))


def check_attention(blocks: Sequence[int], num_blocks: int) -> dict[str, list[int]]:
    """The setting for attention behind these blocks.

    Raises:
        ConfigError: for a block that there is not.
    """
    for block in blocks:
        if isinstance(block, bool) or not isinstance(block, int) or not 0 <= block < num_blocks:
            raise ConfigError(f"attention {block!r}: the blocks are 0 to {num_blocks - 1}")
    return {"attention": sorted(set(blocks))}


def check_settings(arch: str, width: int, resolution: int, num_classes: int) -> dict[str, Any]:
    """The settings of BigGAN's networks, checked, as a dictionary fit for JSON.

    Raises:
        ConfigError: for a setting that no network can be built with.
    """
    check_count("`width`" if arch == "biggan" else "`d_width`", width)
    check_count("num_classes", num_classes, at_most=MAX_CLASSES)
    if isinstance(resolution, bool) or resolution not in LAYOUTS:
        known = ", ".join(map(str, LAYOUTS))
        raise ConfigError(f"`size` {resolution!r}: {arch} is made for images of {known} pixels")
    return {"width": width, "resolution": resolution, "num_classes": num_classes}


def check_classes(classes: Tensor, num_classes: int) -> None:
    """Refuses classes that there are not.

    Raises:
        ConfigError: naming the first one.
    """
    outside = classes[(classes < 0) | (classes >= num_classes)]
    if len(outside):
        raise ConfigError(
            f"`classes` {int(outside[0])}: this model knows {num_classes}, from 0 to "
            f"{num_classes - 1}"
        )


def draw_weights(network: nn.Module, generator: torch.Generator) -> None:
    """Fresh weights and buffers for a network out of BigGAN's layers."""
    for module in network.modules():
        if isinstance(module, SpectralNorm):
            module.draw(generator)
        elif isinstance(module, nn.Embedding):
            draw_orthogonal(module.weight, generator)
        elif isinstance(module, StoredBatchNorm):
            module.start_over()
        elif isinstance(module, SelfAttention):
            nn.init.zeros_(module.gamma)


def _doubled(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2.0, mode="nearest")


def _truncate(z: Tensor, threshold: float, generator: torch.Generator) -> None:
    if not threshold >= LEAST_THRESHOLD:
        raise ConfigError(f"`truncation` {threshold:g}: must be at least {LEAST_THRESHOLD:g}")
    while bool((outside := z.abs() > threshold).any()):
        again = torch.randn(int(outside.sum()), generator=generator, device=generator.device)
        z[outside] = again
