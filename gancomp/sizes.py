"""Height and width of images, which need not be equal: `--size 256`, `--size 256x512`."""

from __future__ import annotations

import re

from gancomp.errors import ConfigError

MIN_SIZE, MAX_SIZE = 8, 4096
Size = int | tuple[int, int]  # side of a square, or height and width


def read_size(field: str, text: str) -> Size:
    """What `256` or `256x512` says, height first; of two equal numbers one.

    Raises:
        ConfigError: if the text is neither.
    """
    match = re.fullmatch(r"\s*(-?[0-9]{1,18})(?:[xX](-?[0-9]{1,18}))?\s*", text)
    if not match:
        raise ConfigError(
            f"`{field}` {text}: is no size; write a number of pixels, or height and width as in "
            f"`{field}` 256x512"
        )
    return as_size(int(match[1]), int(match[2] or match[1]))


def as_size(height: int, width: int) -> Size:
    """One number where both are equal: a square is the same however it was written."""
    return height if height == width else (height, width)


def sides(size: Size) -> tuple[int, int]:
    """Height and width."""
    return (size, size) if isinstance(size, int) else size


def shown_size(size: Size) -> str:
    """As it is typed: `256` or `256x512`."""
    return str(size) if isinstance(size, int) else f"{size[0]}x{size[1]}"


def in_pixels(size: Size) -> str:
    """For messages and records: `256x256` or `256x512 (height x width)`."""
    if isinstance(size, int):
        return f"{size}x{size}"
    return f"{shown_size(size)} (height x width)"


def before_crop(size: Size) -> Size:
    """What images are brought to where crops of `size` are trained on: 286 for 256.

    Source: CycleGAN and pix2pix; both sides in proportion.
    """
    height, width = (round(length * 286 / 256) for length in sides(size))
    return as_size(height, width)


def square_side(size: Size, purpose: str) -> int:
    """The side of what has to be a square.

    Raises:
        ConfigError: if it is none, saying that `purpose` needs one.
    """
    if isinstance(size, int):
        return size
    raise ConfigError(
        f"`size` {shown_size(size)}: {purpose} needs square images; give one number, as in "
        f"`size` {min(size)}"
    )


def check_size(size: Size | None) -> None:
    """Raises ConfigError unless `size` is one that images can sensibly be resized to."""
    if size is not None and not all(MIN_SIZE <= length <= MAX_SIZE for length in sides(size)):
        raise ConfigError(f"`size` {shown_size(size)}: must be from {MIN_SIZE} to {MAX_SIZE}")
