"""Models in OpenVINO's memory: out of ONNX, into the bytes of its two files, always the same."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gancomp.export.extras import needed


def converted(graph: bytes, shapes: Sequence[Sequence[int]] | None = None) -> Any:
    """An ONNX model as OpenVINO's.

    Args:
        graph: the model.
        shapes: the only ones of its inputs that it is to take; by default all.
    """
    openvino = needed("openvino", "openvino", "conversion")
    with contextlib.redirect_stdout(io.StringIO()):
        model = openvino.convert_model(io.BytesIO(graph))
    if shapes is not None:
        model.reshape(dict(enumerate(map(list, shapes))))
    return model


def serialized(model: Any, *, half: bool = False) -> tuple[bytes, bytes]:
    """A model as `.xml` and `.bin`, without what tells how it was made.

    Args:
        model: of OpenVINO; its layers get other names.
        half: keep weights in 16 bits.
    """
    openvino = needed("openvino", "openvino", "conversion")
    for index, layer in enumerate(model.get_ordered_ops()):
        kind = layer.get_type_name()
        if kind not in ("Parameter", "Result"):
            layer.set_friendly_name(f"{kind}_{index}")  # theirs count on within a process
        notes = layer.get_rt_info()
        for key in list(notes):
            del notes[key]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "generator.xml"
        openvino.save_model(model, path, compress_to_fp16=half)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def has_bf16() -> bool:
    """Whether this machine's processor computes in bf16, by OpenVINO's word."""
    openvino = needed("openvino", "openvino", "conversion")
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
