"""Chooses the maps of a network of somebody's own that are distilled."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Sequence

from gancomp.errors import ConfigError
from gancomp.networks.own_trial import Map, Maps, Size

NUM_TAPS = 4  # as the published students of ResNet-9 and U-Net have
SMALLEST = 8  # a chosen map has at least 1/8 of the image's sides: a discriminator halves it thrice
DEPTH_COST = 0.04  # of a module within a module: blocks rather than the layers in them
SHOWN = 12


def evenly_spaced(found: Maps, size: Size, count: int = NUM_TAPS) -> list[Map]:
    """Up to `count` maps, evenly spaced over the layers with weights, blocks rather than layers.

    Args:
        found: all maps of a pass.
        size: height and width of the image.
        count: how many.

    Returns: fewer if there are fewer; in the order of a pass.
    """
    outer = [item for item in found.maps if not item.inner]
    large = [item for item in outer if _is_large(item, size)]
    candidates = large or outer
    chosen: list[Map] = []
    for index in range(1, count + 1):
        left = [item for item in candidates if item not in chosen]
        if left:
            target = index / (count + 1)
            chosen.append(min(left, key=functools.partial(_cost, target=target)))
    return [item for item in found.maps if item in chosen]


def _is_large(item: Map, size: Size) -> bool:
    return all(SMALLEST * side >= whole for side, whole in zip(item.size, size, strict=True))


def _cost(item: Map, target: float) -> float:
    return abs(item.position - target) + DEPTH_COST * item.depth


def matching(found: Maps, wanted: Sequence[tuple[Size, float]]) -> list[Map] | None:
    """Maps of the sizes `wanted`, in the order of a pass, at about the same positions.

    Args:
        found: all maps of a pass.
        wanted: of each map of the other network its size and position.

    Returns: None if there are no such maps.
    """
    maps = [item for item in found.maps if not item.inner]
    # the cheapest way to match the first wanted maps, the last of them by each candidate
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for size, position in wanted:
        ways = []
        for index, item in enumerate(maps):
            if item.size != size:
                continue
            before = [way for way in best if not way[1] or way[1][-1] < index]
            if before:
                cost, path = min(before)
                ways.append((cost + _cost(item, position), (*path, index)))
        best = ways
    return [maps[index] for index in min(best)[1]] if best else None


def check_taps(found: Maps, taps: Sequence[str], field: str, arch: str) -> None:
    """Refuses taps that are no map of a pass.

    Raises:
        ConfigError: naming the tap, the reason and what there is.
    """
    known = [item.name for item in found.maps]
    for tap in taps:
        if tap in known:
            continue
        if tap in found.refused:
            raise ConfigError(
                f"`{field}` {tap}: of {arch} {found.refused[tap]}; choose {_some(found)}"
            )
        close = difflib.get_close_matches(tap, [*known, *found.refused], n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(
            f"`{field}` {tap}: {arch} has no such module; {hint}Its maps: {_some(found)}"
        )
    if len(set(taps)) < len(taps):
        raise ConfigError(f"`{field}` {','.join(taps)}: names a map twice")


def _some(found: Maps) -> str:
    outer = [item.name for item in found.maps if not item.inner] or [
        item.name for item in found.maps
    ]
    step = max(1, -(-len(outer) // SHOWN))
    rest = f" ({len(found.maps)} in all)" if len(found.maps) > SHOWN else ""
    return ", ".join(outer[::step]) + rest
