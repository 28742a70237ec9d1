"""The pictures that a generator is quantized by: as it will be given them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor

from gancomp.data.deep import read_values
from gancomp.data.degrade import downscale
from gancomp.data.formats import list_images
from gancomp.data.images import load_image
from gancomp.data.super_resolution import as_tensor, load_high_resolution
from gancomp.data.transforms import picture_tensor, resize, resized
from gancomp.errors import ConfigError, DataError
from gancomp.export.model import LoadedModel
from gancomp.export.quantized import Pictures
from gancomp.inference.models import check_translates
from gancomp.inference.pixels import opened_format, pixels_in
from gancomp.networks.synthesis import SynthesisGenerator
from gancomp.paths import expanded
from gancomp.settings import PixelSettings
from gancomp.sizes import Size, as_size, shown_size, sides

NUM_PICTURES = 40  # half of them are calibrated on
LARGEST = 64  # pixels of a side of what is to be enlarged; more of it is not needed


def calibration_pictures(
    model: LoadedModel,
    *,
    folder: Path,
    num: int | None = None,
    size: Size | None = None,
    say: Callable[[str], None],
) -> Pictures:
    """Pictures of a folder, evenly spread over it, at the size that the file is for.

    Those for super-resolution are large ones, made small as in training.

    Args:
        model: a generator of images out of images.
        folder: of images.
        num: how many at most, by default 40.
        size: of the pictures; by default the one that the model is meant for.
        say: told about unreadable files, which are left out.

    Raises:
        ConfigError: for other generators, or an impossible `num`.
        DataError: if there are no images.
    """
    num = NUM_PICTURES if num is None else num
    if num < 2:
        raise ConfigError(f"`num` {num}: must be at least 2, half of which are calibrated on")
    if isinstance(model.network, SynthesisGenerator):
        raise ConfigError(
            f"`calibrate` {folder}: {model.path} makes images of noise, int8 is for generators "
            "that take images; use `precision` bf16"
        )
    check_translates(model, str(model.path))
    try:
        files = list_images(expanded(folder))
    except DataError as error:
        raise DataError(
            f"`calibrate` {error}; give a folder of pictures as the model is to be given"
        ) from error
    stated = pixels_in(model.header, model.path)["source"]
    names, images = [], []
    for file in files[:: max(1, -(-len(files) // num))]:
        try:
            images.append(_image(model, file, stated, size))
            names.append(file.name)
        except DataError as error:
            say(f"skipped: {error}")
    if not images:
        raise DataError(
            f"`calibrate` {folder}: holds no readable images; give a folder of pictures as the "
            "model is to be given"
        )
    return Pictures(str(folder), tuple(names), tuple(images))


def _image(model: LoadedModel, file: Path, stated: PixelSettings, size: Size | None) -> Tensor:
    """`(1, C, H, W)` in [-1, 1]."""
    network = model.network
    if network.scale > 1:
        small = downscale(load_high_resolution(file, network.scale), network.scale)
        most = (LARGEST, LARGEST) if size is None else sides(size)
        height, width = (min(pair) for pair in zip(small.shape[:2], most, strict=True))
        if size is not None and (height, width) != most:
            raise DataError(
                f"{file}: made small it has {height}x{width}, less than `size` {shown_size(size)}"
            )
        top, left = (small.shape[0] - height) // 2, (small.shape[1] - width) // 2
        return as_tensor(np.ascontiguousarray(small[top : top + height, left : left + width]))[None]
    size = size or as_size(*model.header["input"]["size"])
    channels = network.settings()["in_channels"]
    pixels = opened_format(stated, channels, file, None, "in_range")
    if pixels is None:
        return picture_tensor(resize(load_image(file), size))[None]
    return picture_tensor(resized(read_values(file, pixels), size))[None]
