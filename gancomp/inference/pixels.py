"""Channels and values of image files: as settings or a model's header state them, or as found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gancomp.config import read
from gancomp.data.deep import stored_format
from gancomp.data.transforms import FULL_RANGES, PixelFormat
from gancomp.errors import CheckpointError, ConfigError, DataError
from gancomp.settings import DataSettings, Json, PixelSettings


def check_range(field: str, limits: Any) -> None:
    """Raises ConfigError unless `limits` is None or two numbers, the lower one first."""
    if limits is None:
        return
    numbers = isinstance(limits, list | tuple) and all(
        isinstance(item, int | float) and math.isfinite(item) for item in limits
    )
    if not numbers or len(limits) != 2 or not limits[0] < limits[1]:
        raise ConfigError(f"`{field}` {limits}: must be two finite numbers, the lower one first")


def shown(value: Any) -> str:
    """A setting as it is typed."""
    return ",".join(f"{item:g}" for item in value) if isinstance(value, list | tuple) else value


def format_of(settings: PixelSettings) -> PixelFormat | None:
    """How files with these settings are read; None for plain 8-bit RGB."""
    if settings.range is None:
        return None
    low, high = settings.range
    return PixelFormat(settings.num_channels, low, high, settings.dtype)


def formats_of(data: DataSettings) -> tuple[PixelFormat | None, PixelFormat | None]:
    """How sources and targets are read."""
    return format_of(data.source), format_of(data.target)


def header_entries(data: DataSettings) -> Json:
    """What a model file says about both; nothing where they are plain."""
    entries = {
        side: {"channels": item.channels, "range": list(item.range), "dtype": item.dtype}
        for side, item in (("source", data.source), ("target", data.target))
        if item.range is not None
    }
    return {"pixels": entries} if entries else {}


def pixels_in(header: Mapping[str, Any], path: Path) -> dict[str, PixelSettings]:
    """`source` and `target` as a model's header has them.

    Raises:
        CheckpointError: if that entry is damaged.
    """
    entries = header.get("pixels") or {}
    try:
        sides = {
            side: read(PixelSettings, entries.get(side) or {}, f"pixels.{side}")
            for side in ("source", "target")
        }
        for side, item in sides.items():
            check_range(side, item.range)
    except (ConfigError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"{path}: its header's 'pixels' entry is damaged ({error}); export the model again"
        ) from error
    return sides


def bits_lost(path: Path, end: str | None) -> str | None:
    """A warning if the file holds more than the 8 bits that are read.

    Args:
        path: an image.
        end: `in` or `out`, of the option that keeps them, if there is one.
    """
    stored = stored_format(path)
    if stored.dtype == "uint8":
        return None
    text = f"warning: {path}: its 16 bits are read as 8-bit RGB"
    return text if end is None else f"{text}; `{end}_range` 0,65535 keeps them"


def opened_format(
    stated: PixelSettings,
    channels: int,
    file: Path,
    limits: tuple[float, float] | None,
    field: str,
) -> PixelFormat | None:
    """How `file` is read for a model; None for plain 8-bit RGB.

    Args:
        stated: by the model's file, if it says anything.
        channels: what the network takes or gives.
        file: an image.
        limits: the range that was typed; files of any type are taken then.
        field: the option for it.

    Raises:
        DataError: if the file cannot be read, or its values have no range.
    """
    if limits is not None:
        return PixelFormat(channels, *limits, None)
    if stated.range is not None:
        return format_of(stated)
    stored = stored_format(file)
    if stored.is_plain and channels == 3:
        return None
    if stored.dtype not in FULL_RANGES:
        raise DataError(
            f"{file}: its {stored.dtype} values have no range of their own; give the lowest and "
            f"the highest, as in `{field}` 0,1"
        )
    return PixelFormat(channels, *FULL_RANGES[stored.dtype], stored.dtype)


def refuse_odd_channels(named: str, channels: int) -> None:
    """Raises ConfigError for what Inception cannot look at: neither RGB nor gray."""
    if channels not in (1, 3):
        raise ConfigError(
            f"{named}: gives {channels} channels; FID looks at images of 3, or of 1, which is "
            "repeated"
        )
