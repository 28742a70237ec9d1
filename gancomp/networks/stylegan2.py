"""StyleGAN2's generator, the one of configuration F, in any width."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gancomp.errors import ConfigError
from gancomp.networks.base import construct
from gancomp.networks.equalized import EqualLinear, draw_normal, full_precision
from gancomp.networks.modulated import StyledConv, ToRGB
from gancomp.networks.resample import FixedFilter
from gancomp.networks.settings import MAX_LAYERS, check_count
from gancomp.networks.synthesis import Latents, SynthesisGenerator

RESOLUTIONS = (16, 32, 64, 128, 256, 512, 1024)
MULTIPLIERS = (
    1,
    2,
)  # of stylegan2-pytorch: all channels up to 32 pixels or, as published, up to 64
MAPPING_LR_MUL = 0.01
STYLES_AVERAGED = 10_000  # random ones, for the average style of a network that brings none
AVERAGING_SEED = 0
LATENT_AVG = "latent_avg"


def channels_at(width: int, resolution: int, multiplier: int = 2) -> int:
    """How many channels the maps of that resolution have in a network of that width."""
    return int(width * min(1.0, 32 * multiplier / resolution))


def check_size(
    arch: str, named: str, width: object, resolution: object, multiplier: object = 2
) -> dict[str, Any]:
    """The settings that generator and discriminator share, fit for JSON.

    Raises:
        ConfigError: naming `named`, `size` or `channel_multiplier`.
    """
    check_count(named, width)
    check_count("`size`", resolution)
    if isinstance(multiplier, bool) or multiplier not in MULTIPLIERS:
        raise ConfigError(f"channel_multiplier {multiplier!r}: must be 1 or 2")
    assert isinstance(width, int)
    assert isinstance(resolution, int)
    assert isinstance(multiplier, int)
    if resolution not in RESOLUTIONS:
        raise ConfigError(f"`size` {resolution}: {arch} knows {', '.join(map(str, RESOLUTIONS))}")
    if channels_at(width, resolution, multiplier) < 1:
        raise ConfigError(
            f"{named} {width}: no channels would be left at {resolution} pixels; "
            f"{resolution // (32 * multiplier)} is the least for {arch}"
        )
    settings = {"width": width, "resolution": resolution}
    return settings if multiplier == 2 else settings | {"channel_multiplier": multiplier}


def draw_parts(network: nn.Module, generator: torch.Generator) -> None:
    """Lets every part draw its weights, and gives fixed filters their kernels."""
    for module in network.modules():
        draw = getattr(module, "draw_weights", None)
        if draw is not None and module is not network:
            draw(generator)
        elif isinstance(module, FixedFilter):
            module.reset()


class PixelNorm(nn.Module):
    """Divides each `(N, C)` vector by the root of its mean square."""

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, C)`."""
        return inputs * (inputs.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class Constant(nn.Module):
    """The learned `(1, C, 4, 4)` map that every image starts from."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.empty(1, channels, 4, 4))

    def draw_weights(self, generator: torch.Generator) -> None:
        """From N(0, 1)."""
        draw_normal(self.input, generator)

    def forward(self, count: int) -> Tensor:
        """`(count, C, 4, 4)`, all of them one in memory."""
        return self.input.expand(count, -1, -1, -1)


class StyleGAN2(SynthesisGenerator):
    """A mapping network of dense layers, then one styled convolution or two per resolution.

    Maps `Latents` to images `(N, 3, resolution, resolution)`, trained to lie in [-1, 1] but not
    kept there. Each resolution adds what it has to say to the enlarged image of the one before.

    Taps: `styles`, each styled convolution, `conv1` and `convs.0` on, and after each of them that
    there is one for `to_rgb1` or `to_rgbs.0` on, the image so far. By default the last convolution
    of each resolution above 4.

    Attributes:
        num_styles: how many layers follow a style; style 0 is for `conv1`, 1 for `to_rgb1`;
            2j + 1, 2j + 2 and 2j + 3 are for `convs.{2j}`, `convs.{2j + 1}` and `to_rgbs.{j}`.
        latent_avg: `(style_channels,)`, the average style, which truncation goes towards; None if
            neither a file nor training brought one.

    Source: Karras et al. 2020 (StyleGAN2), figure 2 and table 1, configuration F.
    """

    latent_avg: Tensor | None

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__("stylegan2", settings)
        self.width, self.resolution = settings["width"], settings["resolution"]
        self.latent_size = self.style_channels = settings["style_channels"]
        num_blocks = self.resolution.bit_length() - 3  # of two convolutions, from 8 pixels on
        self.num_styles = 2 * num_blocks + 2
        self.style = _mapping(self.style_channels, settings["mapping_layers"])
        self.input = Constant(settings["const_channels"])
        multiplier = settings.get("channel_multiplier", 2)
        channels = channels_at(self.width, 4)
        self.conv1 = StyledConv(settings["const_channels"], channels, self.style_channels)
        self.to_rgb1 = ToRGB(channels, self.style_channels, upsample=False)
        self.convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        self.tap_channels = {}
        for block in range(num_blocks):
            previous, channels = channels, channels_at(self.width, 8 << block, multiplier)
            self.convs += [
                StyledConv(previous, channels, self.style_channels, upsample=True),
                StyledConv(channels, channels, self.style_channels),
            ]
            self.to_rgbs.append(ToRGB(channels, self.style_channels))
            self.tap_channels[f"convs.{2 * block + 1}"] = channels
        self.default_taps = tuple(self.tap_channels)
        self.noises = nn.Module()
        for index, shape in enumerate(self.noise_shapes(1)):
            self.noises.register_buffer(f"noise_{index}", torch.empty(shape))
        self.register_buffer(LATENT_AVG, None)
        self._estimate: tuple[tuple[int, ...], Tensor] | None = None

    def draw_weights(self, generator: torch.Generator) -> None:
        """Draws all weights and the constant noise; the average style is forgotten."""
        draw_parts(self, generator)
        for noise in self.noises.buffers():
            draw_normal(noise, generator)
        self.latent_avg = None

    def noise_shapes(self, count: int) -> list[tuple[int, int, int, int]]:
        """The shapes of the noise for `count` images, in the order of the layers."""
        sizes = [2 ** ((index + 5) // 2) for index in range(self.num_styles - 1)]
        return [(count, 1, size, size) for size in sizes]

    def tap_names(self) -> tuple[str, ...]:
        """`styles`, then every convolution and every image so far."""
        names = ["styles", "conv1", "to_rgb1"]
        for block in range(len(self.to_rgbs)):
            names += [f"convs.{2 * block}", f"convs.{2 * block + 1}", f"to_rgbs.{block}"]
        return tuple(names)

    def walk(self, images: Latents) -> Iterator[tuple[str, Tensor]]:
        """Yields the styles, then each convolution's output and each image so far.

        Raises:
            ValueError: if the latents do not fit the network.
        """
        styles = self.styles(images)
        yield "styles", styles
        yield from self._synthesis(styles, images.noise)

    def synthesize(self, styles: Tensor, noise: tuple[Tensor, ...] = ()) -> Tensor:
        """Images `(N, 3, resolution, resolution)` of styles; never compiled, twice differentiable.

        Args:
            styles: `(N, num_styles, style_channels)`.
            noise: one `(N, 1, h, w)` per convolution; empty: the network's own constant noise.

        Raises:
            ValueError: if there are too few or too many maps of noise.
        """
        steps = deque(self._synthesis(styles, noise), maxlen=1)  # keeps no map longer than needed
        return steps.pop()[1]

    def _synthesis(self, styles: Tensor, noise: tuple[Tensor, ...]) -> Iterator[tuple[str, Tensor]]:
        noise = noise or tuple(self.noises.buffers())
        if len(noise) != self.num_styles - 1:
            raise ValueError(f"takes {self.num_styles - 1} maps of noise, {len(noise)} given")
        style = styles.unbind(1)
        count = styles.shape[0]  # len() would make a constant of it in a traced graph
        features = self.conv1(self.input(count), style[0], noise[0])
        yield "conv1", features
        image = self.to_rgb1(features, style[1])
        yield "to_rgb1", image
        for block, to_rgb in enumerate(self.to_rgbs):
            for index in (2 * block, 2 * block + 1):
                features = self.convs[index](features, style[index + 1], noise[index + 1])
                yield f"convs.{index}", features
            image = to_rgb(features, style[2 * block + 3], image)
            yield f"to_rgbs.{block}", image

    def styles(self, latents: Latents) -> Tensor:
        """Styles `(N, num_styles, style_channels)`, mixed and truncated as the latents say.

        In float32 or better, whatever autocast says.

        Raises:
            ValueError: for classes, or a crossover without a second z or beyond the layers.
        """
        self._check_latents(latents)
        first = self.map(latents.z)
        styles = first[:, None].expand(-1, self.num_styles, -1)
        if latents.mixed is not None:
            layers = torch.arange(self.num_styles, device=first.device)
            assert latents.crossover is not None
            follows = (layers < latents.crossover)[None, :, None]
            styles = torch.where(follows, styles, self.map(latents.mixed)[:, None])
        if latents.truncation is None or latents.truncation == 1:
            return styles
        average: Tensor = self.average_style()
        return average + latents.truncation * (styles - average)

    def map(self, z: Tensor) -> Tensor:
        """Styles `(N, style_channels)` of `z`, without mixing or truncation."""
        with full_precision(z):
            styles: Tensor = self.style(z.to(self.input.input.dtype))
        return styles

    def average_style(self) -> Tensor:
        """`latent_avg`, or else the mean style of 10,000 latents that are always the same.

        The mean is computed again when the mapping network has changed.
        """
        if torch.compiler.is_compiling():
            # not as a decorator: that imports the compiler, for seconds, whoever starts gancomp
            outside = torch.compiler.disable(self._average_style)  # type: ignore[no-untyped-call]  # torch left it untyped
            average: Tensor = outside()
            return average
        return self._average_style()

    def _average_style(self) -> Tensor:
        if self.latent_avg is not None:
            return self.latent_avg
        weights = list(self.style.parameters())
        # what came to be in inference mode has no version and cannot be trained either
        versions = [0 if item.is_inference() else item._version for item in weights]
        state = (*versions, *(item.data_ptr() for item in weights))
        if self._estimate is None or self._estimate[0] != state:
            generator = torch.Generator("cpu").manual_seed(AVERAGING_SEED)
            z = torch.randn(STYLES_AVERAGED, self.latent_size, generator=generator)
            with torch.no_grad():
                average = self.map(z.to(weights[0].device)).mean(0)
            self._estimate = (state, average)
        return self._estimate[1]

    def draw_latents(
        self,
        count: int,
        generator: torch.Generator,
        *,
        classes: Tensor | None = None,
        truncation: float | None = None,
        mixing: float = 0.0,
    ) -> Latents:
        """Random latents and noise for `count` images, on the device of `generator`.

        Args:
            count: images.
            generator: source of all randomness.
            classes: must be None.
            truncation: psi; 1 or None for none.
            mixing: probability that this batch mixes two styles, from a random layer on.

        Raises:
            ConfigError: if classes are asked for.
        """
        if classes is not None:
            raise ConfigError(f"{self.arch} knows no classes; remove them")
        drawn = replace(self.draw_mixed(count, generator, mixing), truncation=truncation)
        if drawn.crossover is None:
            return drawn
        crossover = int(drawn.crossover)
        if crossover == self.num_styles:
            return replace(drawn, mixed=None, crossover=None)
        return replace(drawn, crossover=crossover)

    def draw_mixed(self, count: int, generator: torch.Generator, mixing: float) -> Latents:
        """As `draw_latents`, but where styles may be mixed the crossover is a tensor.

        It is `num_styles` with probability `1 - mixing`.
        """
        device = generator.device
        z, mixed = torch.randn(
            2, count, self.latent_size, generator=generator, device=device
        ).unbind()
        mixes = torch.rand((), generator=generator, device=device) < mixing
        layer = torch.randint(1, self.num_styles, (), generator=generator, device=device)
        noise = tuple(
            torch.randn(shape, generator=generator, device=device)
            for shape in self.noise_shapes(count)
        )
        if mixing <= 0:
            return Latents(z, noise=noise)
        crossover = torch.where(mixes, layer, self.num_styles)
        return Latents(z, mixed=mixed, crossover=crossover, noise=noise)

    def traced_input(self, shape: Sequence[int]) -> Latents:
        """As any input; an average style, where there is one, takes part."""
        truncation = None if self.latent_avg is None else 0.5
        return replace(self.example_input(shape), truncation=truncation)

    def expect(self, names: Container[str]) -> None:
        """Makes room for an average style if it is among `names`, the keys of a state dict."""
        if LATENT_AVG not in names:
            self.latent_avg = None
        elif self.latent_avg is None:
            length = self.conv1.conv.modulation.weight.shape[1]  # shorter where it was pruned
            self.latent_avg = self.input.input.new_zeros(length)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As every module's; a state with or without an average style is complete."""
        self.expect(state_dict)
        return super().load_state_dict(state_dict, strict, assign)

    def _check_latents(self, latents: Latents) -> None:
        if latents.classes is not None:
            raise ValueError(f"{self.arch} knows no classes")
        if (latents.mixed is None) != (latents.crossover is None):
            raise ValueError("a second z and a crossover belong together")
        if not isinstance(latents.crossover, int):  # a tensor would have to be waited for
            return
        if not 0 < latents.crossover < self.num_styles:
            raise ValueError(
                f"crossover {latents.crossover}: must be from 1 to {self.num_styles - 1}"
            )


def _mapping(channels: int, num_layers: int) -> nn.Sequential:
    layers = [
        EqualLinear(channels, channels, lr_mul=MAPPING_LR_MUL, activate=True)
        for _ in range(num_layers)
    ]
    return nn.Sequential(PixelNorm(), *layers)


def stylegan2(
    width: int = 512,
    *,
    resolution: int = 256,
    style_channels: int = 512,
    mapping_layers: int = 8,
    const_channels: int = 512,
    channel_multiplier: int = 2,
) -> StyleGAN2:
    """StyleGAN2's generator of configuration F.

    Args:
        width: channels up to 64 pixels, halved with every resolution beyond; 512 is the published
            network, 256 a student of half its width.
        resolution: height and width of the images, a power of two from 16 to 1024.
        style_channels: numbers in a latent and in a style.
        mapping_layers: dense layers that make a style of a latent.
        const_channels: channels of the learned constant, which compressed students leave as wide
            as their teacher's.
        channel_multiplier: 1 halves the channels from 64 pixels on instead of from 128 on.

    Raises:
        ConfigError: for a setting that no network can be built with.
    """
    settings = check_size("stylegan2", "`width`", width, resolution, channel_multiplier)
    check_count("style_channels", style_channels)
    check_count("mapping_layers", mapping_layers, at_most=MAX_LAYERS)
    check_count("const_channels", const_channels)
    settings |= {
        "style_channels": style_channels,
        "mapping_layers": mapping_layers,
        "const_channels": const_channels,
    }
    return construct(lambda: StyleGAN2(settings))
