"""What an enlarged image is compared with: its original, or the teacher's enlargement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gancomp.data.degrade import downscale
from gancomp.data.in_order import read_in_order
from gancomp.data.layout import locate, scan
from gancomp.data.super_resolution import load_high_resolution
from gancomp.errors import ConfigError
from gancomp.export.deployed import runtime_of
from gancomp.inference.enlarge import enlarge
from gancomp.inference.models import Chosen, check_upscales
from gancomp.scoring.pairs import Pairs
from gancomp.scoring.request import FidRequest, Say, dataset_name

Pixels = NDArray[np.uint8]


def super_resolution_pairs(
    request: FidRequest, chosen: Chosen, other: Chosen | None, say: Say, *, device: torch.device
) -> Pairs:
    """The test images' small versions, or those of all images, as the model enlarges them.

    Raises:
        ConfigError: for options without effect, or models of two scales.
        DataError: if there are no images.
    """
    _refuse_unused(request, chosen)
    models = [item.model for item in (chosen, other) if item is not None]
    for model in models:
        check_upscales(model, str(model.path))
    networks = [model.network.to(device) for model in models]
    scale = networks[0].scale
    if networks[-1].scale != scale:
        raise ConfigError(
            f"`pairs` {models[-1].path}: enlarges {networks[-1].scale} times, {models[0].path} "
            f"{scale} times; give two models of one scale"
        )
    root = locate(dataset_name(chosen, request), say)
    files = scan(root, task="super-resolution", strict=request.strict, say=say)

    def made(
        paths: Sequence[Path], say: Say, skipped: list[Path]
    ) -> Iterator[tuple[Pixels, Pixels]]:
        read = partial(load_high_resolution, scale=scale)
        for _, original in read_in_order(paths, read, say, request.strict, skipped=skipped):
            small = downscale(original, scale)
            image, *rest = (enlarge(network, small) for network in networks)
            yield image, rest[0] if rest else original

    protocol = {
        "of": f"MATLAB-style antialiased bicubic 1/{scale} of the originals, enlarged, rounded",
        "dataset": files.name,
        "task": files.task,
        "step": chosen.model.header["step"],
        "selection": chosen.model.header.get("selection", "last"),
        "device": device.type,
    } | runtime_of(networks[0])
    reference = f"{files.root} (originals)" if other is None else str(other.model.path)
    originals = (files.test or files.train).target
    skipped = list(files.skipped)
    return Pairs(str(chosen.model.path), reference, originals, made, protocol, skipped)


def _refuse_unused(request: FidRequest, chosen: Chosen) -> None:
    names = [f"`{name}`" for name in request.of_images()] + request.of_synthesis()
    if names:
        raise ConfigError(
            f"{names[0]}: has no effect on {chosen.model.path}, which enlarges images; remove it"
        )
