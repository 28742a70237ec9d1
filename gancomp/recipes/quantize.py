"""`gancomp quantize`: a generator in 8 bits, and how far its pictures moved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gancomp import console
from gancomp.data.transforms import to_nearest_uint8, to_uint8
from gancomp.errors import ConfigError, WeightsError
from gancomp.export.deployed import open_deployed
from gancomp.export.model import LoadedModel
from gancomp.export.quantized import Pictures
from gancomp.inference.calibration import calibration_pictures
from gancomp.inference.models import choose
from gancomp.launch import unheard
from gancomp.metrics.features import load_inception
from gancomp.metrics.fid import LEAST_IMAGES, fid_from_statistics, statistics_of
from gancomp.networks.accelerate import accelerate
from gancomp.networks.base import TappedNetwork
from gancomp.networks.inference import run_generator
from gancomp.recipes.export import export
from gancomp.scoring.measuring import Extractor, features_of
from gancomp.settings import Json
from gancomp.sizes import Size

SUFFIX = ".xml"


def quantize(
    model: Path,
    out: Path,
    *,
    calibrate: Path,
    num: int | None = None,
    min_psnr: float | None = None,
    pixels: bool = False,
    size: Size | None = None,
    part: str | None = None,
    say: Callable[[str], None] = unheard,
) -> Json:
    """Writes the generator of `model` with its convolutions in 8 bits; see `export`.

    Args:
        model: a model file or a run.
        out: the `.xml` file.
        calibrate: a folder of pictures as the model is to be given.
        num: of them, at most.
        min_psnr: in dB, against full precision, that no picture may fall below.
        pixels: bytes in and out, images of any size.
        size: the only one of images that the file takes; by default all.
        part: network of a model file that holds several.
        say: told what takes long.

    Returns: the document of `export`, with `drift`: the FID from the pictures of full precision to
        those of 8 bits, and of how many.

    Raises:
        ConfigError, CheckpointError, DataError: for options, model or pictures.
        ExportError: if 8 bits are not good enough, or not faster; nothing is written then.
    """
    if out.suffix.lower() != SUFFIX:
        raise ConfigError(f"`out` {out}: 8 bits are for OpenVINO; end the name in {SUFFIX}")
    options: Json = {
        "pixels": pixels or None,
        "precision": "int8",
        "min_psnr": min_psnr,
        "size": size,
    }
    document = export(model, out, part=part, options=options, calibrate=calibrate, num=num, say=say)
    loaded = choose(model, part).model
    pictures = calibration_pictures(loaded, folder=calibrate, num=num, size=size, say=unheard)
    return document | {"drift": drift(loaded, out, pictures, say)}


def drift(
    model: LoadedModel, out: Path, pictures: Pictures, say: Callable[[str], None]
) -> Json | None:
    """The FID between what the model and its exported file make of the same pictures.

    None where Inception's weights cannot be had, or its 3 channels do not fit.
    """
    count = len(pictures.images)
    if model.network.settings()["out_channels"] != 3 or count < LEAST_IMAGES:
        return None
    try:
        extractor = Extractor(load_inception(say=say), torch.device("cpu"))
    except WeightsError as error:
        say(f"warning: no FID drift: {error}")
        return None
    sides = [
        statistics_of(features_of(_made(network, pictures), extractor))
        for network in (model.network, open_deployed(out).network)
    ]
    return {"fid": round(float(fid_from_statistics(*sides)), 4), "images": count}


def _made(network: TappedNetwork, pictures: Pictures) -> Iterator[Any]:
    """What FID looks at: `(H, W, 3)` uint8 of each picture."""
    fast = accelerate(network)
    for image in pictures.images:
        images = run_generator(fast, image)
        made = to_uint8(images) if network.scale == 1 else to_nearest_uint8(images)
        yield np.asarray(made)[0]


def show_quantized(document: Json) -> None:
    """Prints where the file is, how good, and how fast."""
    found = document["checked"]["quantized"]
    quality, held_out = found["psnr_db"], found["held_out_psnr_db"]
    rows = [
        ["file", document["file"]],
        ["bytes, with the weights beside it", f"{document['bytes']:,}"],
        ["convolutions in 8 bits", f"{found['in_8_bits']} of {found['convolutions']}"],
        [
            f"PSNR against fp32, {found['pictures']} pictures",
            f"mean {quality['mean']:.1f} dB, worst {quality['worst']:.1f} "
            f"({found['worst_picture']})",
        ],
    ]
    if held_out is not None:
        rows.append(
            [
                f"of {found['held_out']} not calibrated on",
                f"mean {held_out['mean']:.1f} dB, worst {held_out['worst']:.1f}",
            ]
        )
    if (moved := document["drift"]) is not None:
        few = f"of {moved['images']} pictures: few, so it says little"
        rows.append(["FID from fp32's pictures", f"{moved['fid']:.4f} ({few})"])
    for row in found["ms"]:
        on = f"{row['threads']} thread{'s' * (row['threads'] > 1)}"
        rows.append([f"ms, {row['precision']}, {on}", f"{row['ms']:.1f}"])
    console.print_table(["", "value"], rows)
