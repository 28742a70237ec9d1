"""Decoded images kept in memory, which the processes of a loader share, if there is room."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from gancomp.errors import ConfigError
from gancomp.memory import physical_memory
from gancomp.sizes import Size, in_pixels, sides

AUTO_SHARE = 4  # auto takes at most one part in so many of the free memory
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


class Kind(NamedTuple):
    """What the pixels of decoded images are."""

    channels: int
    dtype: torch.dtype


PLAIN = Kind(3, torch.uint8)


class DecodedImages:
    """Room for `num_images` images of one size and kind; a slot is empty until it is filled.

    The memory is anonymous and shared: a process forked from this one sees, and fills, the same
    slots. Nothing is reserved before it is used. Two processes that fill one slot at the same time
    write the same bytes, so there is no lock that a killed process could leave closed. It cannot
    be pickled: a process that was not forked would get a copy of its own.

    Args:
        num_images: number of slots.
        size: height and width.
        kind: of their pixels; by default RGB of 8 bits.

    Raises:
        ConfigError: if the system refuses the memory.
    """

    def __init__(self, num_images: int, size: Size, kind: Kind = PLAIN) -> None:
        self.num_images = num_images
        needed = num_bytes(num_images, size, kind)
        try:
            memory = mmap.mmap(-1, needed)
        except OSError as error:
            raise ConfigError(
                f"`cache`: the system refuses {_gigabytes(needed)} of memory "
                f"({error.strerror}); use `cache` off"
            ) from error
        everything = torch.frombuffer(memory, dtype=torch.uint8)
        # the marks come last: wider numbers must begin at a multiple of their size
        shape = (num_images, *sides(size), kind.channels)
        self._pixels: Tensor = everything[:-num_images].view(kind.dtype).view(shape)
        self._filled = everything[-num_images:]

    def __contains__(self, slot: int) -> bool:
        return bool(self._filled[slot])

    def __getitem__(self, slot: int) -> Tensor:
        """`(H, W, C)`, not copied.

        Raises:
            KeyError: if the slot is empty.
        """
        if slot not in self:
            raise KeyError(slot)
        return self._pixels[slot]

    def num_filled(self) -> int:
        """How many slots are filled."""
        return int(self._filled.sum())

    def fill(self, slot: int, pixels: Tensor) -> None:
        """Keeps a copy of `pixels` `(H, W, C)`."""
        self._pixels[slot].copy_(pixels)
        self._filled[slot] = 1  # after the pixels: others look at this first

    def __reduce__(self) -> str:
        raise TypeError("decoded images are shared by forking, not by pickling")


class TwoKinds:
    """Two `DecodedImages` of different kinds in a row: the second's slots follow the first's."""

    def __init__(self, first: DecodedImages, second: DecodedImages) -> None:
        self._both = first, second
        self.num_images = first.num_images + second.num_images

    def _place(self, slot: int) -> tuple[DecodedImages, int]:
        first, second = self._both
        return (first, slot) if slot < first.num_images else (second, slot - first.num_images)

    def __contains__(self, slot: int) -> bool:
        images, inner = self._place(slot)
        return inner in images

    def __getitem__(self, slot: int) -> Tensor:
        images, inner = self._place(slot)
        return images[inner]

    def num_filled(self) -> int:
        """How many slots are filled."""
        return sum(images.num_filled() for images in self._both)

    def fill(self, slot: int, pixels: Tensor) -> None:
        """Keeps a copy of `pixels`."""
        images, inner = self._place(slot)
        images.fill(inner, pixels)


def num_bytes(num_images: int, size: Size, kind: Kind = PLAIN) -> int:
    """What `DecodedImages` takes when all slots are filled."""
    height, width = sides(size)
    return num_images * (height * width * kind.channels * kind.dtype.itemsize + 1)


def is_kept(
    mode: str,
    num_images: int,
    size: Size,
    *,
    say: Callable[[str], None],
    needed: int | None = None,
    available: Callable[[], int] | None = None,
) -> bool:
    """Whether decoded images are to be kept in memory.

    Args:
        mode: auto (if they take at most a quarter of the free memory), on or off.
        num_images: of the dataset.
        size: height and width they are kept at.
        say: told once if auto decides against it.
        needed: bytes for all of them, where they are not of 8-bit RGB.
        available: bytes of free memory.

    Raises:
        ConfigError: if the mode is on and they do not fit.
    """
    if mode == "off":
        return False
    needed = num_bytes(num_images, size) if needed is None else needed
    free = (available or available_bytes)()
    facts = f"{num_images} images of {in_pixels(size)} need {_gigabytes(needed)}"
    if mode == "on":
        if needed > free:
            raise ConfigError(
                f"`cache` on: {facts} of memory, {_gigabytes(free)} are free; use `cache` off"
            )
        return True
    if needed * AUTO_SHARE > free:
        say(
            f"decoded images are not kept in memory: {facts}, more than a quarter of the "
            f"{_gigabytes(free)} that are free; `cache` on keeps them if they fit at all"
        )
        return False
    return True


def available_bytes() -> int:
    """Memory that can be used without swapping, within the limits of this process's control group.

    Systems that do not tell get half of their physical memory.
    """
    free = _meminfo()
    try:
        limit = int((CGROUP / "memory.max").read_text())
        free = min(free, limit - int((CGROUP / "memory.current").read_text()))
    except (OSError, ValueError):  # no control groups, or "max": no limit
        pass
    return max(free, 0)


def _meminfo() -> int:
    try:
        lines = MEMINFO.read_text().splitlines()
        (line,) = [line for line in lines if line.startswith("MemAvailable:")]
        return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return physical_memory() // 2


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2g} GB" if count >= 1e9 else f"{max(count / 1e6, 0.1):.3g} MB"
