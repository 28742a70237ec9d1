"""What every network of ours can do: name its layers, hand out taps, say how to rebuild it."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gancomp.networks.fused import run

Network = TypeVar("Network", bound="TappedNetwork")


class TappedNetwork(nn.Module, ABC):
    """A network whose intermediate activations are asked for by layer name, without hooks.

    Subclasses implement `walk` and `tap_names`. No layer works in place, so a tap keeps its value.

    Attributes:
        arch: name in the registry, `"mobile-resnet9"`.
        width: channels of the first convolution (ngf, ndf).
        default_taps: the layers distilled when nothing else is asked for, in forward order.
        tap_channels: channels of each default tap.
        size_multiple: height and width of an input must be multiples of this.
        scale: how many times higher and wider than its input the output of a generator is.
        is_own: whether its code is none of gancomp's.
        needs_values: whether its shapes cannot be found on the meta device.
        contiguous_only: whether it fails with weights in channels_last order.
        layer_widths: settings that say the width of each layer, by name, as lists; 0 for a layer
            that is gone. Empty for a network that has none.
    """

    is_network = True  # compiled as a whole
    arch: str
    width: int
    default_taps: tuple[str, ...]
    tap_channels: dict[str, int]
    size_multiple: int
    scale: int = 1
    is_own: bool = False
    needs_values: bool = False
    contiguous_only: bool = False
    layer_widths: Mapping[str, list[Any]] = MappingProxyType({})

    def __init__(self, arch: str, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.arch = arch
        self._settings = dict(settings)

    def settings(self) -> dict[str, Any]:
        """The keyword arguments that rebuild this network through the registry, fit for JSON."""
        return copy.deepcopy(self._settings)

    @property
    def how(self) -> str:
        """What computes it, in words."""
        return "eager"

    @property
    def described(self) -> TappedNetwork:
        """The network to count on: itself, or without weights what another runtime computes."""
        return self

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """Height and width of the only images that it takes; None of networks of any size."""
        return None

    @abstractmethod
    def walk(self, images: Any) -> Iterator[tuple[str, Tensor]]:
        """Runs the layers in order and yields each one's name and output as it is computed."""

    def walk_to(self, images: Any, taps: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        """As `walk`, but only the last layer and the named ones have to be yielded."""
        return self.walk(images)

    def draw_weights(self, generator: torch.Generator) -> None:
        """Draws fresh weights, and fills every buffer: after `construct` they hold anything.

        As CycleGAN's, see `draw_normal_weights`; networks of other papers draw theirs.
        """
        draw_normal_weights(self, generator)

    def example_input(self, shape: Sequence[int]) -> Any:
        """An input without meaning, to count or time a pass on: zeros of that shape."""
        return torch.zeros(tuple(shape))

    @property
    def body(self) -> nn.Module:
        """What tensors are named by, in a state dict: the network itself, or one that it wraps."""
        return self

    def traced_input(self, shape: Sequence[int]) -> Any:
        """An input without meaning that all of the network takes part in."""
        return self.example_input(shape)

    def expect(self, names: Container[str]) -> None:
        """Makes room for what a state dict of the keys `names` may or may not bring along."""

    @abstractmethod
    def tap_names(self) -> tuple[str, ...]:
        """Every name that `walk` yields."""

    def forward(self, images: Any, taps: Sequence[str] = (), *, only_taps: bool = False) -> Any:
        """What the three ways of running a network have in common; prefer those by name.

        All of them come through here, so that a compiled network (`nn.Module.compile`) is compiled
        whichever way it is run.

        Args:
            images: `(N, C, H, W)` in [-1, 1], or whatever else the network's `walk` takes.
            taps: names out of `tap_names()`.
            only_taps: compute nothing beyond the last tap.

        Returns: the output of the last layer; with taps, that and a mapping; or the mapping alone.
        """
        found: dict[str, Tensor] = {}
        output: Any = images
        missing = set(taps)
        for name, value in self.walk_to(images, taps):
            output = value
            if name in missing:
                found[name] = value
                missing.discard(name)
                if only_taps and not missing:
                    break
        if only_taps:
            return {name: found[name] for name in taps}
        return (output, {name: found[name] for name in taps}) if taps else output

    def forward_with_taps(
        self, images: Tensor, taps: Sequence[str]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The output and, in the order of `taps`, the activation after each named layer.

        Args:
            images: `(N, C, H, W)` in [-1, 1].
            taps: names out of `tap_names()`.

        Raises:
            ValueError: if a tap does not exist.
        """
        self._check(taps)
        if not taps:
            return self(images), {}
        output, found = self(images, tuple(taps))
        return output, found

    def features(self, inputs: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Only the activations after the named layers; nothing beyond the last one is computed.

        Args:
            inputs: `(N, C, H, W)`; a discriminator takes feature maps here just as well as images.
            taps: names out of `tap_names()`.

        Raises:
            ValueError: if a tap does not exist.
        """
        self._check(taps)
        if not taps:
            return {}
        found: dict[str, Tensor] = self(inputs, tuple(taps), only_taps=True)
        return found

    def _check(self, taps: Sequence[str]) -> None:
        names = self.tap_names()
        for tap in taps:
            if tap not in names:
                raise ValueError(f"{self.arch} has no tap {tap!r}; its taps are {', '.join(names)}")


class SequentialNetwork(TappedNetwork):
    """A network that is one `nn.Sequential` called `model`; taps `model.0`, `model.1` and on."""

    model: nn.Sequential
    can_fuse = True
    fused = False

    def walk(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields `model.{index}` and the output of that layer, in order."""
        output = images
        for index, layer in enumerate(self.model):
            output = layer(output)
            yield f"model.{index}", output

    def walk_to(self, images: Tensor, taps: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        """As `walk`; where norms are fused with what follows them, without what is in between."""
        if not self.fused:
            yield from self.walk(images)
            return
        stops = {int(tap.partition(".")[2]) for tap in taps}
        for index, value in run(list(self.model), images, stops):
            yield f"model.{index}", value

    def tap_names(self) -> tuple[str, ...]:
        """`model.0` to the last layer."""
        return tuple(f"model.{index}" for index in range(len(self.model)))


def device_of(network: nn.Module) -> torch.device:
    """Where the network's weights lie; the CPU for one without any, which another runtime runs."""
    weights = next(network.parameters(), None)
    return torch.device("cpu") if weights is None else weights.device


def initialize(network: nn.Module, generator: torch.Generator) -> None:
    """Draws fresh weights as the network itself says, those of bare layers as CycleGAN does.

    The same generator state gives the same weights wherever `network` lies, as long as the
    generator is on the CPU.
    """
    if isinstance(network, TappedNetwork):
        network.draw_weights(generator)
    else:
        draw_normal_weights(network, generator)


def draw_normal_weights(network: nn.Module, generator: torch.Generator, gain: float = 0.02) -> None:
    """Draws fresh weights: convolutions N(0, gain), BatchNorm scales N(1, gain), biases 0.

    Running statistics start over too. Source: the initialization of CycleGAN and pix2pix, kept by
    OMGD and DCD.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            _draw(module.weight, 0.0, gain, generator)
        elif isinstance(module, nn.BatchNorm2d) and module.affine:
            _draw(module.weight, 1.0, gain, generator)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()


def _draw(weight: Tensor, mean: float, std: float, generator: torch.Generator) -> None:
    values = torch.empty(weight.shape, dtype=weight.dtype, device=generator.device)
    with torch.no_grad():
        weight.copy_(values.normal_(mean, std, generator=generator))


def draw_glorot_weights(network: nn.Module, generator: torch.Generator) -> None:
    """Draws fresh weights as Keras does by default, PReLU slopes and biases 0, BatchNorm scales 1.

    Weights are uniform within `sqrt(6 / (fan_in + fan_out))`. Source: Glorot and Bengio 2010,
    eq. 16.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            values = torch.empty(module.weight.shape, device=generator.device)
            nn.init.xavier_uniform_(values, generator=generator)
            with torch.no_grad():
                module.weight.copy_(values)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            module.reset_running_stats()
        elif isinstance(module, nn.PReLU):
            nn.init.zeros_(module.weight)
        else:
            continue
        if isinstance(bias := getattr(module, "bias", None), nn.Parameter):
            nn.init.zeros_(bias)


class _NothingDrawn(TorchFunctionMode):
    """Calls of `torch.nn.init` do nothing: without data it takes a third of building a network."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def construct(make: Callable[[], Network]) -> Network:
    """The network that `make` builds, with fixed initial weights and the global RNG untouched.

    torch's layers draw their default weights from the global RNG; built on the meta device they
    draw nothing. Inside `with torch.device("meta")` the result stays there, without weights.
    """
    device = torch.get_default_device()
    with torch.device("meta"), _NothingDrawn():
        network = make()
    if device.type != "meta":
        network.to_empty(device=device)
        initialize(network, torch.Generator("cpu").manual_seed(0))
    return network
