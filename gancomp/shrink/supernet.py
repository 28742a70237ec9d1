"""A network of shared weights: each narrower one in it has the first channels of every layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from gancomp.errors import ConfigError
from gancomp.networks.base import TappedNetwork
from gancomp.registry import build_network
from gancomp.settings import NetworkSettings

FIRST, LAST = 3, 2  # widths before and after those of the blocks
NUM_STAGES = 8  # stem, down1, down2, three thirds of the blocks, up1, up2
TIMES = (1, 2, 4, 4, 4, 4, 2, 1)  # how many times a stage's width is what its layers have
MEETING = ((0, 1), (1, 2), (2, 3), (2, 4), (2, 5), (2, 6), (6, 7))  # input and output
STAGED = ("resnet9", "resnet6", "mobile-resnet9", "mobile-resnet6")


def channels_of(stages: Sequence[int], num_blocks: int) -> tuple[int, ...]:
    """The width of each layer of a ResNet whose eight stages have these widths.

    Source: Li et al. 2020 (GAN Compression), `config_str` of the released code: widths at the
    image's size, a third of the blocks having one inner width.
    """
    wide = [width * times for width, times in zip(stages, TIMES, strict=True)]
    inner = [wide[FIRST + 3 * block // num_blocks] for block in range(num_blocks)]
    return (*wide[:FIRST], *inner, *wide[-LAST:])


class StageCosts:
    """What sub-networks cost, found out once: no term is of more than two stages that meet.

    Args:
        measure: costs of the network whose stages have these widths, all of them whole numbers.
    """

    def __init__(self, measure: Callable[[Sequence[int]], Mapping[str, int]]) -> None:
        def at(*wider: int) -> Mapping[str, int]:
            return measure([1 + (place in wider) for place in range(NUM_STAGES)])

        self.base = at()
        self.single = {i: _minus(at(i), self.base) for i in range(NUM_STAGES)}
        self.double = {
            (i, j): _minus(_minus(_minus(at(i, j), self.base), self.single[i]), self.single[j])
            for i, j in MEETING
        }

    def of(self, stages: Sequence[int]) -> dict[str, int]:
        """By name, of these widths."""
        more = [width - 1 for width in stages]
        return {
            name: value
            + sum(self.single[i][name] * more[i] for i in self.single)
            + sum(each[name] * more[i] * more[j] for (i, j), each in self.double.items())
            for name, value in self.base.items()
        }


def _minus(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: value - other[name] for name, value in one.items()}


class SuperNetwork(TappedNetwork):
    """A ResNet in which every narrower one of the same kind is contained.

    It computes with the sub-network whose `stages` are set. Gradients reach the channels that this
    one has. Its own code runs that of the narrower network on parts of the weights, so that what
    is exported computes the same.

    Attributes:
        full: the widest network, which holds the weights.
        stages: widths of the eight stages of the sub-network in use.

    Args:
        full: a ResNet without running statistics.
        widest: the widths of its stages.

    Raises:
        ConfigError: for another kind of network.
    """

    def __init__(self, full: TappedNetwork, widest: Sequence[int]) -> None:
        super().__init__(full.arch, full.settings())
        if full.arch not in STAGED or full.settings().get("norm") != "instance":
            raise ConfigError(
                f"once-for-all: works on {', '.join(STAGED)} with `norm` instance, not {full.arch} "
                f"with {full.settings().get('norm')}"
            )
        self.full = full
        self.width, self.size_multiple = full.width, full.size_multiple
        self.default_taps, self.tap_channels = full.default_taps, full.tap_channels
        self.num_blocks = len(full.layer_widths["channels"]) - FIRST - LAST
        self.stages = self.widest = tuple(widest)
        self._skeletons: dict[tuple[int, ...], TappedNetwork] = {}

    def settings_of(self, stages: Sequence[int]) -> NetworkSettings:
        """Of the network that a sub-network is exported as."""
        return NetworkSettings(self.arch, **self._skeleton(tuple(stages)).settings())

    def state_of(self, stages: Sequence[int]) -> dict[str, Tensor]:
        """The parts of the weights that a sub-network has, still attached to the whole."""
        whole = dict(self.full.named_parameters()) | dict(self.full.named_buffers())
        return {
            name: whole[name][tuple(slice(length) for length in value.shape)].contiguous()
            for name, value in self._skeleton(tuple(stages)).state_dict().items()
        }

    def exported(self, stages: Sequence[int]) -> TappedNetwork:
        """A network of its own with a copy of the sub-network's weights."""
        settings = self.settings_of(stages)
        network = build_network(settings.arch, **settings.arguments())
        network.load_state_dict(
            {name: value.detach() for name, value in self.state_of(stages).items()}
        )
        return network

    def forward(self, images: Any, taps: Sequence[str] = (), *, only_taps: bool = False) -> Any:
        """As the sub-network in use."""
        skeleton = self._skeleton(self.stages).train(self.training)
        options = {"taps": tuple(taps), "only_taps": only_taps}
        return functional_call(skeleton, self.state_of(self.stages), (images,), options)

    def walk(self, images: Any) -> Iterator[tuple[str, Tensor]]:
        """As the widest network."""
        return self.full.walk(images)

    def tap_names(self) -> tuple[str, ...]:
        """Those of any sub-network."""
        return self.full.tap_names()

    def _skeleton(self, stages: tuple[int, ...]) -> TappedNetwork:
        """The sub-network without weights; kept, as making one takes longer than a small pass."""
        if stages not in self._skeletons:
            if len(self._skeletons) > 256:
                self._skeletons.clear()
            channels = channels_of(stages, self.num_blocks)
            settings = self.settings() | {"width": channels[0], "channels": channels}
            self._skeletons[stages] = self._built(settings)
        return self._skeletons[stages]

    def _built(self, settings: Mapping[str, Any]) -> TappedNetwork:
        with torch.device("meta"):
            return build_network(self.arch, **settings)


class SlicedAdaptors(nn.Module):
    """1x1 convolutions from as many channels as a map has, the first of those that they know.

    Args:
        adaptors: those of the widest network, `methods.adaptors.Adaptors` of the kind `conv`.
    """

    def __init__(self, adaptors: nn.Module) -> None:
        super().__init__()
        self.adaptors = adaptors

    def forward(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each tap's map `(N, C, H, W)` with the teacher's channels."""
        convs: Any = self.adaptors.by_tap
        return {
            tap: F.conv2d(features, conv.weight[:, : features.shape[1]], conv.bias)
            for (tap, features), conv in zip(maps.items(), convs, strict=True)
        }
