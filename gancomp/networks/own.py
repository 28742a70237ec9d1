"""Any image-to-image module as a network of gancomp: made by a factory, tapped by hooks.

Names of parameters stay those of the module itself. Its code comes from where a person said it is,
see `own_code`; what it takes and gives is found out by trial passes, see `own_trial`.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from gancomp.declare import PRUNED
from gancomp.errors import CheckpointError, ConfigError, GancompError, explain_memory
from gancomp.networks.base import TappedNetwork
from gancomp.networks.own_taps import check_taps, evenly_spaced
from gancomp.networks.own_trial import (
    Maps,
    Size,
    Trial,
    first_convolution,
    image_of,
    maps_of,
    output_range,
    try_out,
)
from gancomp.networks.pruned import Shapes, cut
from gancomp.networks.settings import check_count
from gancomp.own_code import a_kind_of, factory_of, said

# a factory's parameters for the channels of images, as CycleGAN, ESRGAN and others call them
IN_CHANNELS = ("in_channels", "input_nc", "in_nc", "num_in_ch", "in_ch")
OUT_CHANNELS = ("out_channels", "output_nc", "out_nc", "num_out_ch", "out_ch")
MOST_TRIALS = 64  # that are remembered: a plan builds a network many times
FAR_OUTSIDE = 4.0  # no output for images in [-1, 1], but of another range of values
T = TypeVar("T")
Module = Callable[[], nn.Module]
_trials: dict[Hashable, Trial] = {}
_maps: dict[Hashable, Maps] = {}


def __getattr__(name: str) -> Callable[..., OwnGenerator]:
    """What `own_code` adds to the table of networks: what makes the generator of a spec."""
    if ":" not in name:
        raise AttributeError(name)
    return factory_for(name)


def factory_for(spec: str) -> Callable[..., OwnGenerator]:
    """What makes the generators of `spec`, like the factories of gancomp's own networks."""

    def make(
        width: int | None = None,
        in_channels: int | None = None,
        out_channels: int | None = None,
        width_argument: str | None = None,
        taps: Sequence[str] | None = None,
        pruned: Mapping[str, Any] | None = None,
    ) -> OwnGenerator:
        for name, value in (("`in_channels`", in_channels), ("`out_channels`", out_channels)):
            if value is not None:
                check_count(name, value)
        if taps is not None and not all(isinstance(tap, str) for tap in taps):
            raise ConfigError("taps: should be paths of modules")
        arguments = _arguments(spec, width, width_argument, in_channels, out_channels)
        return OwnGenerator(
            spec,
            functools.partial(_made, spec, arguments, pruned),
            pruned=pruned,
            width=width,
            width_argument=width_argument,
            channels=(in_channels, out_channels),
            taps=taps,
        )

    return make


def parameters_of(spec: str) -> dict[str, inspect.Parameter]:
    """What the factory of `spec` takes by name; `{}` of one that does not tell."""
    try:
        found = inspect.signature(factory_of(spec)).parameters
    except (TypeError, ValueError):
        return {}
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: item for name, item in found.items() if item.kind in kinds}


def default_width(spec: str, width_argument: str) -> int | None:
    """What the factory itself has for the argument that is its width, if that is a number.

    Raises:
        ConfigError: if it has no such argument.
    """
    known = parameters_of(spec)
    if width_argument not in known:
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise ConfigError(f"`width_argument` {width_argument}: {spec} has no such parameter; {has}")
    default = known[width_argument].default
    return default if isinstance(default, int) and not isinstance(default, bool) else None


def check_width(spec: str, settings: Mapping[str, Any]) -> None:
    """Refuses a width without the factory's parameter for it.

    Raises:
        ConfigError: naming what there is.
    """
    width = settings.get("width")
    if width is not None and settings.get("width_argument") is None:
        known = ", ".join(parameters_of(spec)) or "none"
        raise ConfigError(
            f"`width` {width}: which parameter of {spec} is its width? Name it with "
            f"`width_argument`; it has {known}"
        )


def _arguments(
    spec: str,
    width: int | None,
    width_argument: str | None,
    in_channels: int | None,
    out_channels: int | None,
) -> dict[str, Any]:
    """The factory's keyword arguments: its width, and channels where it has such parameters."""
    given: dict[str, Any] = {}
    if width_argument is not None:
        default_width(spec, width_argument)
        if width is not None:
            check_count("`width`", width)
            given[width_argument] = width
    known = parameters_of(spec)
    for names, count in ((IN_CHANNELS, in_channels), (OUT_CHANNELS, out_channels)):
        name = next((name for name in names if name in known), None)
        if name is not None and (count is not None or known[name].default is inspect._empty):
            given[name] = 3 if count is None else count
    return given


def _made(spec: str, arguments: Mapping[str, Any], pruned: Shapes | None) -> nn.Module:
    """The module itself, on the CPU whatever the default device: its code may look at values."""
    module = _whole(spec, arguments)
    if pruned is not None:
        try:
            cut(module, pruned)
        except ConfigError as error:
            raise ConfigError(f"{said(spec)}: {error}") from error
    return module


def _whole(spec: str, arguments: Mapping[str, Any]) -> nn.Module:
    factory = factory_of(spec)
    try:
        with torch.device("cpu"):
            module = factory(**arguments)
    except Exception as error:  # whatever the code of others raises
        called = ", ".join(f"{name}={value}" for name, value in arguments.items())
        raise ConfigError(
            f"{said(spec)}: its factory fails when called with ({called}): "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"{said(spec)}: its factory gives {a_kind_of(module)}, not a torch.nn.Module"
        )
    if next(module.parameters(), None) is None:
        raise ConfigError(f"{said(spec)}: its module has no weights")
    if lazy := [name for name, value in module.state_dict().items() if is_lazy(value)]:
        raise ConfigError(
            f"{said(spec)}: {lazy[0]} has no shape before a first pass; let the factory make one, "
            "or use layers that are told their channels"
        )
    if strange := [
        name for name, value in module.state_dict().items() if not isinstance(value, Tensor)
    ]:
        raise ConfigError(
            f"{said(spec)}: its state dict holds {strange[0]}, which is no tensor and fits into no "
            "model file"
        )
    return module


def remembered(known: dict[Hashable, T], key: Hashable, find: Callable[[], T]) -> T:
    """What was found out for `key`; the oldest of `known` is forgotten for it."""
    if key not in known:
        known[key] = find()
        if len(known) > MOST_TRIALS:
            del known[next(iter(known))]
    return known[key]


class FailedPassError(ConfigError, RuntimeError):
    """The module's code failed, as torch's own modules do with a RuntimeError."""


class OwnGenerator(TappedNetwork):
    """A module of somebody's own from images to images of the same size.

    Args:
        spec: where its code is, `my_net.py:make`.
        make: makes the module.
        width: the value of `width_argument`; without one it is read off the first convolution.
        width_argument: the factory's parameter that is its width.
        channels: of its input and output; None is as the module has them.
        taps: paths of the modules whose maps are distilled; by default a few evenly spaced ones.
        pruned: the shapes of tensors that `make` cuts.

    Raises:
        ConfigError: if the code fails or makes no module with weights.
    """

    is_network = False  # not compiled: its code is unknown, and hooks tap it
    is_own = True
    default_taps: tuple[str, ...]
    tap_channels: dict[str, int]

    def __init__(
        self,
        spec: str,
        make: Module,
        *,
        width: int | None,
        width_argument: str | None,
        channels: tuple[int | None, int | None],
        taps: Sequence[str] | None,
        pruned: Shapes | None = None,
    ) -> None:
        super().__init__(spec, {})
        self._make, self.width_argument = make, width_argument
        self._pruned = None if pruned is None else dict(pruned)
        self._given_taps = None if taps is None else tuple(taps)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.module = make()
        first = first_convolution(self.module)
        narrow = first.out_channels if first is not None else len(next(self.module.parameters()))
        self.width = width if width is not None and width_argument is not None else narrow
        self._channels = channels
        shapes = tuple((name, *value.shape) for name, value in self.module.state_dict().items())
        self._kind = (factory_of(spec), shapes, channels[0])

    @property
    def trial(self) -> Trial:
        """What it takes and gives, tried once.

        Raises:
            ConfigError: if it does not turn images into images of the same size.
        """
        trial = remembered(
            _trials,
            self._kind,
            lambda: try_out(self.module, self._channels[0], said(self.arch)),
        )
        wanted, found = self._channels[1], trial.out_channels
        if wanted is not None and found != wanted:
            raise ConfigError(
                f"{said(self.arch)}: gives {found} channels, the target images have {wanted}; "
                f"let the factory make it for {wanted}"
            )
        return trial

    def maps(self, size: Size | None = None) -> Maps:
        """All its maps of a pass at `size`, by default at one it takes.

        Raises:
            ConfigError: if it does not take that size.
        """
        trial = self.trial
        size = size or trial.size

        def find() -> Maps:
            try:
                return maps_of(self.module, trial.in_channels, size, on_meta=trial.on_meta)
            except Exception as error:  # whatever the code of others raises
                height, width = trial.size
                raise ConfigError(
                    f"{said(self.arch)}: fails on images of `size` {size[0]}x{size[1]} "
                    f"({type(error).__name__}), and takes those of {height}x{width} pixels"
                ) from error

        return remembered(_maps, (self._kind, size), find)

    @property
    def needs_values(self) -> bool:  # type: ignore[override]  # found out, not set
        """Whether its shapes cannot be found on the meta device."""
        return not self.trial.on_meta

    @property
    def contiguous_only(self) -> bool:  # type: ignore[override]  # found out, not set
        """Whether it fails with weights in channels_last order."""
        return self.trial.contiguous_only

    def __getattr__(self, name: str) -> Any:
        # found out when they are first asked for: a trial of a large network takes a while
        match name:
            case "size_multiple":
                return self.trial.size_multiple
            case "default_taps":
                return self._taps()
            case "tap_channels":
                channels = {item.name: item.channels for item in self.maps().maps}
                return {tap: channels[tap] for tap in self._taps()}
        return super().__getattr__(name)

    def _taps(self) -> tuple[str, ...]:
        if self._given_taps is not None:
            check_taps(self.maps(), self._given_taps, "taps", self.arch)
            return self._given_taps
        return tuple(item.name for item in evenly_spaced(self.maps(), self.trial.size))

    @property
    def body(self) -> nn.Module:
        """The module itself, whose names are those of the state dict."""
        return self.module

    def settings(self) -> dict[str, Any]:
        """The keyword arguments that rebuild this network through the registry, fit for JSON."""
        known: dict[str, Any] = {
            "width": self.width,
            "in_channels": self.trial.in_channels,
            "out_channels": self.trial.out_channels,
        }
        if self.width_argument is not None:
            known["width_argument"] = self.width_argument
        if self._given_taps is not None:
            known["taps"] = list(self._given_taps)
        if self._pruned is not None:
            known[PRUNED] = copy.deepcopy(self._pruned)
        return known

    def check_values(self) -> str | None:
        """Looks at the values of a trial output: a warning if they lie outside of [-1, 1].

        Raises:
            ConfigError: if they are not finite, or far outside: images of another range.
        """
        low, high = output_range(self.module, self.trial.in_channels, self.trial.size)
        given = f"{said(self.arch)}: makes values from {low:.3g} to {high:.3g} of a trial image"
        if not -torch.inf < low <= high < torch.inf:
            raise ConfigError(f"{said(self.arch)}: makes values that are not finite")
        if max(-low, high) > FAR_OUTSIDE:
            raise ConfigError(
                f"{given}; images are -1 to 1 here: wrap it so that it takes and gives those"
            )
        if max(-low, high) > 1:
            return f"warning: {given}; what is beyond -1 and 1 is cut off in pictures"
        return None

    def draw_weights(self, generator: torch.Generator) -> None:
        """Makes the module anew: its code's own initialization, under a seed from `generator`."""
        seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            # all of it: buffers that no state dict holds were wiped with the rest
            self.module = self._make()

    def state_dict(self, *args: Any, **options: Any) -> Any:
        """The module's own, under its own names."""
        return self.module.state_dict(*args, **options)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        # names of the module itself become those within this one, before they are handed on to it
        for name in [name for name in state_dict if name.startswith(prefix)]:
            state_dict[f"{prefix}module.{name.removeprefix(prefix)}"] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def tap_names(self) -> tuple[str, ...]:
        """The paths of all modules that give one map in a pass."""
        return tuple(item.name for item in self.maps().maps)

    def walk(self, images: Any) -> Iterator[tuple[str, Tensor]]:
        """Yields each tap's name and map, in order, when all are computed."""
        found: dict[str, Tensor] = {}
        self._run(images, self.tap_names(), found)
        yield from found.items()

    def forward(self, images: Any, taps: Sequence[str] = (), *, only_taps: bool = False) -> Any:
        """As `TappedNetwork.forward` has it; with `only_taps` all is computed as well."""
        found: dict[str, Tensor] = {}
        output = self._run(images, taps, found)
        found = {name: found[name] for name in taps}
        if only_taps:
            return found
        return (output, found) if taps else output

    def _run(self, images: Tensor, taps: Sequence[str], found: dict[str, Tensor]) -> Tensor:
        def note(name: str) -> Callable[..., None]:
            # a copy: the next module may overwrite its input
            return lambda module, given, made: found.__setitem__(name, made.clone())

        handles = [
            self.module.get_submodule(name).register_forward_hook(note(name)) for name in taps
        ]
        try:
            image = image_of(self.module(images))
        except Exception as error:
            if explain_memory(error) or isinstance(error, GancompError):
                raise
            reason = next(iter(str(error).splitlines()), "")
            raise FailedPassError(
                f"{said(self.arch)}: fails on images of shape {list(images.shape)} "
                f"({type(error).__name__}: {reason})"
            ) from error
        finally:
            for handle in handles:
                handle.remove()
        assert image is not None, "tried before"
        return image


def refuse_unfit(network: TappedNetwork, path: object) -> None:
    """Tries an own generator out whose weights came from the file at `path`.

    Raises:
        CheckpointError: if it is no generator of images in [-1, 1].
    """
    if isinstance(network, OwnGenerator):
        try:
            _ = network.trial
            network.check_values()
        except ConfigError as error:
            raise CheckpointError(f"{path}: {error}") from error
