"""A generator in 8 bits: made, judged by its pictures, and timed, before it is handed over."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gancomp.data.transforms import to_nearest_uint8
from gancomp.export.faster import check_faster, time_files
from gancomp.export.fixed_form import fixed_shapes
from gancomp.export.form import Form
from gancomp.export.model import LoadedModel
from gancomp.export.openvino_model import converted, has_bf16, serialized
from gancomp.export.parity import LEVELS, Parity, measure_parity
from gancomp.export.pixels_graph import measure_levels, with_pixels
from gancomp.export.quantized import Pictures, Quantizer
from gancomp.export.runtimes import Array, OpenVinoSession


@dataclass(frozen=True)
class Int8:
    """A file in 8 bits.

    Attributes:
        xml: of OpenVINO's two files.
        weights: the other one.
        parity: the largest difference from PyTorch on drawn images, and the PSNR of the worst of
            the pictures against full precision.
        recorded: what was found, for people and programs.
    """

    xml: bytes
    weights: bytes
    parity: Parity
    recorded: dict[str, Any]


def in_8_bits(
    model: LoadedModel,
    form: Form,
    graph: bytes,
    out: Path,
    *,
    pictures: Pictures,
    least_db: float,
    pixels: bool,
    say: Callable[[str], None],
) -> Int8:
    """The generator in 8 bits, if its pictures stay good and it is faster.

    Args:
        model: what is exported.
        form: of its network.
        graph: of `onnx_graph`.
        out: the file that is to be written.
        pictures: to calibrate on, and to judge by.
        least_db: PSNR against full precision that no picture may fall below.
        pixels: bytes in and out.
        say: told what takes long.

    Raises:
        ConfigError: without the extra `openvino`.
        ExportError: if too little of it can be in 8 bits, or that is not faster.
    """
    shapes = fixed_shapes(form, model.network)
    whole = converted(with_pixels(graph, form) if pixels else graph, shapes)
    inputs = to_nearest_uint8 if pixels else torch.Tensor.numpy
    found = Quantizer(whole, pictures, out, inputs=inputs, say=say).search(least_db)
    files = {"fp32": serialized(whole), "int8": (found.xml, found.weights)}
    if has_bf16():
        files["bf16"] = files["fp32"]
    opened = {name: partial(_opened, *both, out, precision=name) for name, both in files.items()}
    first: Array = inputs(pictures.images[0])
    times = time_files(opened, first)
    check_faster(out, times)
    parity = _parity(model, form, opened["int8"](torch.get_num_threads()), pixels=pixels)
    recorded = found.quality.recorded() | {
        "folder": pictures.folder,
        "convolutions": found.layers,
        "in_8_bits": found.layers - len(found.left_out),
        "ms": times,
        "timed_on": list(first.shape),
    }
    worst = Parity(parity.largest, found.quality.worst, parity.sizes)
    return Int8(found.xml, found.weights, worst, recorded)


def _opened(
    xml: bytes, weights: bytes, out: Path, threads: int, *, precision: str
) -> OpenVinoSession:
    return OpenVinoSession(xml, weights, out, threads=threads, precision=precision)


def _parity(model: LoadedModel, form: Form, session: OpenVinoSession, *, pixels: bool) -> Parity:
    """That it runs at all sizes, and how different images are that are nothing like pictures."""
    if pixels:
        levels = measure_levels(model.network, form, session, limited=False)
        return Parity(levels / LEVELS, math.nan, ())
    size = model.header["input"]["size"]
    return measure_parity(model.network, form, session.run, size, least_db=-math.inf)
