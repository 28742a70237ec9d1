"""Channels and values of the images of a translation: as typed, as the teacher's, as found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gancomp.config import merge, read
from gancomp.data.deep import can_become, read_raw, stored_format
from gancomp.data.splits import DatasetFiles, Half
from gancomp.data.transforms import FULL_RANGES, PixelFormat
from gancomp.engine.run import CONFIG, read_config, settings_in
from gancomp.errors import ConfigError, DataError
from gancomp.export.model import LoadedModel
from gancomp.inference.pixels import bits_lost, check_range, format_of, pixels_in, shown
from gancomp.paths import expanded
from gancomp.settings import Json, PixelSettings, Settings

ENDS = {"source": "in", "target": "out"}
NUM_LOOKED_AT = 4  # files whose values are compared with the range


def pixels_of(files: DatasetFiles, typed: Json, teacher: Mapping[str, Any]) -> Json:
    """`source` and `target` of `DataSettings` for a run on `files`; `{}` of plain 8-bit RGB.

    Args:
        files: the dataset, which is for translation.
        typed: the same two tables as they were typed.
        teacher: the same two as the teacher's file has them.

    Raises:
        ConfigError: if a range is impossible, missing, or another than the teacher's.
        DataError: if the first file cannot be read.
    """
    sides: Json = {}
    for side, paths in (("source", files.train.source), ("target", files.train.target)):
        wanted = typed.get(side) or {}
        read(PixelSettings, wanted, f"data.{side}")
        check_range(f"{ENDS[side]}_range", wanted.get("range"))
        known = {key: value for key, value in (teacher.get(side) or {}).items() if value}
        for name, value in wanted.items():
            found = known.get(name, value)
            if value is not None and (list(found) if name == "range" else found) != (
                list(value) if name == "range" else value
            ):
                raise ConfigError(
                    f"`{ENDS[side]}_{name}` {shown(value)}: `teacher` was trained with "
                    f"{shown(found)}; remove the option"
                )
        sides[side] = _resolved(paths[0], known | wanted, ENDS[side])
    return {side: values for side, values in sides.items() if values}


def of_teacher(model: LoadedModel) -> Json:
    """`source` and `target` as a teacher's file has them; of others' files the channels."""
    settings = model.network.settings()
    sides: Json = {}
    for side, item in pixels_in(model.header, model.path).items():
        channels = settings.get("in_channels" if side == "source" else "out_channels", 3)
        if item.range is not None or channels != 3:
            sides[side] = {"channels": channels, "range": item.range, "dtype": item.dtype}
    return sides


def with_networks(values: Json) -> Json:
    """Settings as nested tables, with what follows from the numbers of channels.

    Networks that no file gives take and give as many. Where they differ, nothing can be left
    as it is: the identity term is off by default.
    """
    source, target = (values["data"].get(side, {}).get("channels") or 3 for side in ENDS)
    if (source, target) == (3, 3):
        return values
    network = {"in_channels": source, "out_channels": target}
    values = merge({"teacher": {"network": network}}, values)
    return merge({"adversarial": {"lambda_identity": 0.0}}, values) if source != target else values


def with_discriminators(values: Json, typed: Json) -> Json:
    """Settings as nested tables, with the discriminators that a teacher's run brings along.

    Raises:
        ConfigError: if others were typed.
        RunError: if that run cannot be read.
    """
    source = (typed.get("teacher") or {}).get("source")
    if source is None or not (expanded(source) / CONFIG).exists():
        return values
    found = settings_in(read_config(expanded(source))).discriminator
    saved = {"arch": found.arch, **found.arguments()}
    for name, value in (typed.get("discriminator") or {}).items():
        if saved.get(name, value) != value:
            raise ConfigError(
                f"`d_{name}` {value}: the discriminators of `teacher` {source} have {saved[name]}; "
                "remove it, or give teacher.safetensors itself"
            )
    return values | {"discriminator": merge(saved, typed.get("discriminator") or {})}


def channel_problems(settings: Settings) -> list[str]:
    """What the numbers of channels rule out."""
    data = settings.data
    problems: list[str] = []
    source, target = data.source.num_channels, data.target.num_channels
    for field, network in (("teacher", settings.teacher.network), ("student", settings.student)):
        if network is None:
            continue
        channels = network.in_channels or 3, network.out_channels or 3
        if channels != (source, target):
            problems.append(
                f"`{field}`: {network.arch} from {channels[0]} to {channels[1]} channels, the "
                f"images have {source} and {target}; see `in_channels` and `out_channels`"
            )
    if target not in (1, 3) and settings.perceptual.source != "none":
        problems.append(
            f"`perceptual` {settings.perceptual.source}: looks at RGB or gray, the target images "
            f"have {target} channels; use `perceptual` none"
        )
    if target not in (1, 3) and settings.selection.select != "last":
        problems.append(
            f"`select` {settings.selection.select}: scores by FID, which looks at RGB or gray, the "
            f"target images have {target} channels; remove it"
        )
    identity = settings.adversarial.lambda_identity
    if data.task == "unpaired" and source != target and identity > 0:
        problems.append(
            f"`lambda_identity` {identity:g}: would compare images of {source} and {target} "
            "channels; remove it"
        )
    return problems


def _resolved(path: Path, wanted: Json, end: str) -> Json:
    stored = stored_format(path)
    channels, limits = wanted.get("channels"), wanted.get("range")
    if stored.is_plain and limits is None and channels in (None, 3):
        return {}
    if limits is None and stored.dtype not in FULL_RANGES:
        raise ConfigError(
            f"`{end}_range`: is needed for {path}, whose {stored.dtype} values have no range of "
            f"their own; give the lowest and the highest, as in `{end}_range` 0,1"
        )
    channels = stored.channels if channels is None else channels
    if not can_become(stored, channels):
        raise ConfigError(
            f"`{end}_channels` {channels}: {path} has {stored.channels} of {stored.dtype}; remove "
            "the option, or convert the images"
        )
    return {
        "channels": channels,
        "range": tuple(limits or FULL_RANGES[stored.dtype]),
        "dtype": wanted.get("dtype") or stored.dtype,
    }


def pixel_remarks(settings: Settings, files: DatasetFiles) -> Iterator[str]:
    """What a user should know: bits that are lost by reading, values beyond the range."""
    data, train = settings.data, files.train
    if data.target.num_channels == 1 and settings.perceptual.source != "none":
        yield "the perceptual terms see gray images as three equal channels"
    for side, stated, paths, half in (
        ("source", data.source, train.source, train.side_by_side),
        ("target", data.target, train.target, train.target_half),
    ):
        pixels = format_of(stated)
        if pixels is not None:
            yield f"{side} images: {pixels} become -1 to 1{_converted(paths[0], pixels)}"
            yield from _clipped(paths[:NUM_LOOKED_AT], pixels, half, f"{ENDS[side]}_range")
        elif lost := bits_lost(paths[0], ENDS[side]):
            yield lost


def _converted(path: Path, pixels: PixelFormat) -> str:
    channels = stored_format(path).channels
    if channels == pixels.channels:
        return ""
    return ", colors turned to gray" if pixels.channels == 1 else f", from {channels} channels"


def _clipped(
    paths: tuple[Path, ...], pixels: PixelFormat, half: Half | None, field: str
) -> Iterator[str]:
    for path in paths:
        try:
            raw = read_raw(path, pixels, half)
        except DataError:
            continue  # said when it is read for training
        share = float(((raw < pixels.low) | (raw > pixels.high)).mean())
        if share > 0:
            yield (
                f"warning: {path}: {share:.1%} of its values lie outside `{field}` "
                f"{pixels.low:g},{pixels.high:g} and are clipped"
            )
            return
