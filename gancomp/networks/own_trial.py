"""Finds out by trial passes what a module takes and gives, and which maps can be tapped."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gancomp.errors import ConfigError

SIDE = 64  # of a trial image, or as many pixels as the network needs
MULTIPLES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
FIXED_SIDES = (256, 128, 64, 512)  # tried where a network takes squares of one size only
Size = tuple[int, int]


@dataclass(frozen=True)
class Map:
    """What a module gives in a pass: one tensor `(N, C, H, W)`.

    Attributes:
        name: the module's path.
        channels: C.
        size: H and W.
        position: the share of the layers with weights that have run by then.
        inner: whether a module around it gives the same tensor, it is the output itself, or all
            the module does is to pad, blur or resize: never chosen unasked.
    """

    name: str
    channels: int
    size: Size
    position: float
    inner: bool

    @property
    def depth(self) -> int:
        """How deep within other modules it lies."""
        return self.name.count(".")


@dataclass(frozen=True)
class Maps:
    """All that can be tapped, in the order of a pass, and why other modules cannot be."""

    maps: tuple[Map, ...]
    refused: dict[str, str]
    num_outputs: int


@dataclass(frozen=True)
class Trial:
    """What trial passes found out about a module.

    Attributes:
        size: of an image that it takes.
        size_multiple: height and width must be multiples of this.
        in_channels: of the images that it takes.
        out_channels: of those that it makes.
        on_meta: whether shapes can be found without computing.
        contiguous_only: whether it fails with weights in channels_last order.
    """

    size: Size
    size_multiple: int
    in_channels: int
    out_channels: int
    on_meta: bool
    contiguous_only: bool


def image_of(output: Any) -> Tensor | None:
    """The image in what a module returned: itself, or the first of several; None if there is none.

    U-GAT-IT's generator also returns what its attention is trained by.
    """
    first = output[0] if isinstance(output, tuple | list) and output else output
    return first if isinstance(first, Tensor) and first.dim() == 4 else None


def try_out(module: nn.Module, channels: int | None, said: str) -> Trial:
    """What `module` takes and gives, found on copies of it.

    Args:
        module: with weights, on any device; it is not touched.
        channels: of its inputs; None: as many as its first convolution takes, unless it takes RGB.
        said: the generator as it was typed, to begin a message with.

    Raises:
        ConfigError: if it does not turn images into images of the same size.
    """
    if channels is None:
        first = first_convolution(module)
        try:
            return try_out(module, 3, said)
        except ConfigError:
            if first is None or first.in_channels == 3:
                raise
            return try_out(module, first.in_channels, said)
    twin = still(module)
    try:
        ghost = copy.deepcopy(twin).to("meta")
        size, multiple, output = _fitting_size(ghost, channels, said)
        on_meta = True
    except Exception:  # code that looks at values fails there in as many ways as there are
        on_meta = False
        size, multiple, output = _fitting_size(twin, channels, said)
    channels_last = copy.deepcopy(twin).to(memory_format=torch.channels_last)
    try:
        _run(channels_last, channels, size)
        contiguous_only = False
    except RuntimeError:
        contiguous_only = True
    return Trial(size, multiple, channels, output.shape[1], on_meta, contiguous_only)


def still(module: nn.Module) -> nn.Module:
    """A copy in eval mode, on the CPU unless it has no values."""
    twin = copy.deepcopy(module).eval()
    return twin if all(item.is_meta for item in module.parameters()) else twin.cpu()


def _fitting_size(module: nn.Module, channels: int, said: str) -> tuple[Size, int, Tensor]:
    """A size that the module keeps, the multiple its sides must be of, and what came out."""
    squares = [(side, (side, side)) for side in FIXED_SIDES]
    counts = [(multiple, max(1, SIDE // multiple)) for multiple in MULTIPLES]
    oblong = [(each, (each * count, each * (count + 1))) for each, count in counts]
    problem = changed = ""
    for multiple, size in (*oblong, *squares):
        try:
            output = _run(module, channels, size)
        except Exception as error:  # whatever the code of others raises
            reason = next(iter(str(error).splitlines()), "")
            problem = f"fails on an image of shape {[1, channels, *size]} ({_named(error)}{reason})"
            continue
        image = image_of(output)
        if image is None:
            problem = f"gives {_described(output)} instead of an image (N, C, H, W)"
            break
        if tuple(image.shape[2:]) == size:
            return size, multiple, image
        changed = changed or (
            f"makes {'x'.join(map(str, image.shape[2:]))} pixels of {size[0]}x{size[1]}; a "
            "generator for translation keeps the size"
        )
    first = first_convolution(module)
    problem = changed or problem
    if problem.startswith("fails") and first is not None and first.in_channels != channels:
        problem += f"; its first convolution takes {first.in_channels} channels, not {channels}"
    raise ConfigError(f"{said}: {problem}")


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: "


def _described(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"a tensor of shape {list(output.shape)}"
    return f"a {type(output).__name__}"


def first_convolution(module: nn.Module) -> nn.Conv2d | None:
    """The first one by order of attributes, which is that of a pass in most networks."""
    return next((item for item in module.modules() if isinstance(item, nn.Conv2d)), None)


def trial_image(channels: int, size: Size, device: torch.device) -> Tensor:
    """`(1, C, H, W)` in [-1, 1]: smooth, as images are; without values on the meta device."""
    if device.type == "meta":
        return torch.empty(1, channels, *size, device="meta")
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, channels, 8, 8, generator=generator) * 2 - 1
    return nn.functional.interpolate(coarse, size, mode="bilinear")


@torch.no_grad()
def _run(module: nn.Module, channels: int, size: Size) -> Any:
    device = next((item.device for item in module.parameters()), torch.device("cpu"))
    # there may be another default device, and modules may add noise
    with torch.device(device), torch.random.fork_rng(devices=[]):
        return module(trial_image(channels, size, device))


def output_range(module: nn.Module, channels: int, size: Size) -> tuple[float, float]:
    """The lowest and the highest value that a module makes of a trial image; NaN if it has some."""
    image = image_of(_run(still(module), channels, size))
    assert image is not None, "tried before"
    return float(image.min()), float(image.max())


def maps_of(module: nn.Module, channels: int, size: Size, *, on_meta: bool) -> Maps:
    """All maps of a pass at `size`."""
    twin = still(module)
    twin = twin.to("meta") if on_meta else twin
    recorder = _Recorder(twin)
    with recorder.listening():
        output = _run(twin, channels, size)
    return recorder.result(output)


class _Recorder:
    """Notes what every module of a pass gives."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.names = {item: name for name, item in module.named_modules() if name}
        self.done = 0
        self.runs: dict[str, int] = {}
        self.given: dict[str, tuple[int, Any]] = {}  # how many layers had run, and the output
        self.resizing: set[str] = set()  # without weights

    @contextmanager
    def listening(self) -> Iterator[None]:
        handles = [item.register_forward_hook(self._note) for item in self.names]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _note(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        name = self.names[module]
        if next(module.parameters(), None) is None and _sides(inputs) != _sides((output,)):
            self.resizing.add(name)
        if any(item.dim() > 1 for item in module.parameters(recurse=False)):
            self.done += 1
        self.runs[name] = self.runs.get(name, 0) + 1
        self.given.pop(name, None)
        self.given[name] = self.done, output

    def result(self, output: Any) -> Maps:
        last_of = {id(value): name for name, (_, value) in self.given.items()}
        image = image_of(output)
        maps, refused = [], {}
        for name in self.names.values():
            if name not in self.given:
                refused[name] = "does not run in a pass"
            elif self.runs[name] > 1:
                refused[name] = f"runs {self.runs[name]} times in a pass"
            elif not isinstance(value := self.given[name][1], Tensor) or value.dim() != 4:
                refused[name] = f"gives {_described(value)}, no map (N, C, H, W)"
        for name, (done, value) in self.given.items():
            if name in refused:
                continue
            inner = (
                last_of[id(value)] != name
                or value is image
                or done in (0, self.done)
                or name in self.resizing
            )
            maps.append(
                Map(
                    name,
                    value.shape[1],
                    (value.shape[2], value.shape[3]),
                    done / max(1, self.done),
                    inner,
                )
            )
        count = len(output) if isinstance(output, tuple | list) else 1
        return Maps(tuple(maps), refused, count)


def _sides(values: tuple[Any, ...]) -> tuple[int, ...] | None:
    first = values[0] if values else None
    return tuple(first.shape[2:]) if isinstance(first, Tensor) else None
