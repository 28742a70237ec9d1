"""Bytes in and out: what turns pixels into a generator's input and back, as part of an ONNX model.

It does what `translate` does around a generator, so that any language can call the file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gancomp.data.transforms import to_float, to_nearest_uint8, to_uint8
from gancomp.errors import ConfigError, explain_memory
from gancomp.export.extras import needed
from gancomp.export.form import Form, example_inputs
from gancomp.export.model import LoadedModel
from gancomp.export.parity import ExportError, reference
from gancomp.export.runtimes import Session
from gancomp.networks.base import TappedNetwork
from gancomp.networks.inference import SMALLEST, run_generator

INPUT, RESULT = "pixels", "result"
MOST_LEVELS = 1  # of 255, by which a pixel may differ from translate's
ODD_SIZES = ((37, 70), (5, 9))  # no multiples of anything; the second is too small to be reflected

BEFORE = """
<ir_version: 10, opset_import: ["" : 20]>
before (uint8[batch, height, width, {channels}] pixels) => (float[batch, {channels}, h, w] image)
{{
  pix_size = Shape <start = 1, end = 3> (pixels)
  {extended}
  pix_planes = Transpose <perm = [0, 3, 1, 2]> (pix_extended)
  pix_levels = Cast <to = 1> (pix_planes)
  pix_white = Constant <value = float {{255.0}}> ()
  pix_half = Constant <value = float {{0.5}}> ()
  pix_unit = Div (pix_levels, pix_white)
  pix_centered = Sub (pix_unit, pix_half)
  image = Div (pix_centered, pix_half)
}}
"""
# as run_generator does it: by reflection, by the edge where the image is too small for that
EXTENDED = """
  pix_least = Constant <value = int64 {{{smallest}}}> ()
  pix_step = Constant <value = int64 {{{step}}}> ()
  pix_before_step = Constant <value = int64 {{{before_step}}}> ()
  pix_one = Constant <value = int64 {{1}}> ()
  pix_zero = Constant <value = int64 {{0}}> ()
  pix_at_least = Max (pix_size, pix_least)
  pix_more = Add (pix_at_least, pix_before_step)
  pix_steps = Div (pix_more, pix_step)
  pix_full = Mul (pix_steps, pix_step)
  pix_missing = Sub (pix_full, pix_size)
  pix_too_small_each = GreaterOrEqual (pix_missing, pix_size)
  pix_too_small_number = Cast <to = 7> (pix_too_small_each)
  pix_too_small_any = ReduceMax <keepdims = 0> (pix_too_small_number)
  pix_too_small = Cast <to = 9> (pix_too_small_any)
"""
INDEX = """
  {axis}_which = Constant <value = int64 {{{number}}}> ()
  {axis}_length = Gather (pix_size, {axis}_which)
  {axis}_wanted = Gather (pix_full, {axis}_which)
  {axis}_last = Sub ({axis}_length, pix_one)
  {axis}_all = Range (pix_zero, {axis}_wanted, pix_one)
  {axis}_edge = Min ({axis}_all, {axis}_last)
  {axis}_beyond = Sub ({axis}_last, {axis}_all)
  {axis}_distance = Abs ({axis}_beyond)
  {axis}_mirrored = Sub ({axis}_last, {axis}_distance)
  {axis}_index = Where (pix_too_small, {axis}_edge, {axis}_mirrored)
  {target} = Gather <axis = {place}> ({source}, {axis}_index)
"""
AFTER = """
<ir_version: 10, opset_import: ["" : 20]>
after (float[batch, {channels}, h, w] output{size}) => (uint8[batch, H, W, {channels}] result)
{{
  res_one = Constant <value = float {{1.0}}> ()
  res_black = Constant <value = float {{0.0}}> ()
  res_white = Constant <value = float {{255.0}}> ()
  {cropped}
  res_positive = Add (res_cropped, res_one)
  {scaled}
  res_clipped = Clip (res_scaled, res_black, res_white)
  {rounded}
  res_bytes = Cast <to = 2> (res_rounded)
  result = Transpose <perm = [0, 2, 3, 1]> (res_bytes)
}}
"""
CROPPED = """
  res_start = Constant <value = int64[2] {0, 0}> ()
  res_axes = Constant <value = int64[2] {2, 3}> ()
  res_cropped = Slice (output, res_start, pix_size, res_axes)
"""
# in the order of `to_uint8` and `to_nearest_uint8`, whose roundings they share
TRUNCATED = """
  res_two = Constant <value = float {2.0}> ()
  res_fraction = Div (res_positive, res_two)
  res_scaled = Mul (res_fraction, res_white)
"""
NEAREST = """
  res_levels = Constant <value = float {127.5}> ()
  res_scaled = Mul (res_positive, res_levels)
"""


def check_8_bit(model: LoadedModel) -> None:
    """Refuses a model whose images are no bytes.

    Raises:
        ConfigError: naming the values that they have.
    """
    for side, stated in (model.header.get("pixels") or {}).items():
        if stated and stated.get("dtype") not in (None, "uint8"):
            raise ConfigError(
                f"`pixels`: {side} images of {model.path} are {stated['dtype']}, not bytes; "
                "remove it"
            )


def with_pixels(graph: bytes, form: Form) -> bytes:
    """The ONNX model with uint8 `(N, H, W, C)` of any size in the place of its images.

    Args:
        graph: of `onnx_graph`.
        form: what it was made of; for images out of noise only the output changes.
    """
    onnx = needed("onnx", "onnx", "`pixels`")
    model = onnx.load_from_string(graph)
    takes_images, padded = form.size_multiple > 0, form.size_multiple > 0 and form.scale == 1
    after = onnx.parser.parse_model(
        AFTER.format(
            channels=form.channels[1],
            size=", int64[2] pix_size" if padded else "",
            cropped=CROPPED if padded else "res_cropped = Identity (output)",
            scaled=TRUNCATED if padded else NEAREST,
            rounded=f"res_rounded = {'Identity' if padded else 'Round'} (res_clipped)",
        )
    ).graph
    nodes, inputs = list(model.graph.node), list(model.graph.input)
    if takes_images:
        before = onnx.parser.parse_model(_before(form, padded=padded)).graph
        nodes, inputs = [*before.node, *nodes], list(before.input)
    del model.graph.node[:], model.graph.input[:], model.graph.output[:]
    model.graph.node.extend([*nodes, *after.node])
    model.graph.input.extend(inputs)
    model.graph.output.extend(after.output)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _before(form: Form, *, padded: bool) -> str:
    if not padded:
        extended = "pix_extended = Identity (pixels)"
    else:
        step = form.size_multiple
        extended = EXTENDED.format(smallest=SMALLEST, step=step, before_step=step - 1)
        for axis, source, target, number in (
            ("rows", "pixels", "pix_rows", 0),
            ("columns", "pix_rows", "pix_extended", 1),
        ):
            extended += INDEX.format(
                axis=axis, source=source, target=target, number=number, place=number + 1
            )
    return BEFORE.format(channels=form.channels[0], extended=extended)


def measure_levels(
    network: TappedNetwork, form: Form, session: Session, *, limited: bool = True
) -> int:
    """By how many levels of 255 the file's pixels differ from those that `translate` writes.

    Args:
        network: the generator as it was.
        form: of it.
        session: the file, with pixels.
        limited: refuse what differs by more than one level.

    Raises:
        ExportError: if they differ by more.
    """
    largest = 0
    for size in ODD_SIZES if form.size_multiple else ((0, 0),):
        inputs = [*example_inputs(form, network, size, 2)]
        if not form.size_multiple:
            with torch.no_grad():
                wanted = to_nearest_uint8(reference(network, inputs))
        else:
            pixels = torch.from_numpy(to_nearest_uint8(inputs[0]))
            try:
                images = run_generator(network, to_float(pixels))
            except RuntimeError as error:
                if size != ODD_SIZES[-1] or explain_memory(error):
                    raise
                continue  # the network itself cannot do images so small
            wanted = to_uint8(images) if form.scale == 1 else to_nearest_uint8(images)
            inputs = [pixels]
        given: Any = session.run([value.numpy() for value in inputs])
        if given.shape != wanted.shape or given.dtype != np.uint8:
            raise ExportError(
                f"the exported {network.arch} gives pixels {given.shape}, translate gives "
                f"{wanted.shape}; nothing was written"
            )
        difference = int(np.abs(given.astype(int) - wanted.astype(int)).max())
        largest = max(largest, difference)
    if limited and largest > MOST_LEVELS:
        raise ExportError(
            f"the exported {network.arch} differs by {largest} levels from what translate writes, "
            f"more than {MOST_LEVELS}; nothing was written"
        )
    return largest
