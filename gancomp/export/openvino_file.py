"""Writes generators for OpenVINO: an `.xml` file and its weights, `.bin`, beside it."""

from __future__ import annotations

import contextlib
import io
import json
import re
import tempfile
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path
from typing import ClassVar

import torch

from gancomp.errors import CheckpointError, ConfigError
from gancomp.export.checked import CheckedExporter
from gancomp.export.extras import needed
from gancomp.export.model import LoadedModel
from gancomp.export.native import HEADER_KEY
from gancomp.export.onnx_file import onnx_graph
from gancomp.export.pixels_graph import check_8_bit, with_pixels
from gancomp.export.runtimes import OpenVinoSession
from gancomp.files import replacing, reporting_disk_errors

PRECISIONS = ("fp32", "bf16")
END = b"\t</rt_info>\n</net>"
HEADER_LINE = re.compile(rb'\t\t<%s value="([^"]*)" />\n' % HEADER_KEY.encode())


@dataclass
class OpenVino(CheckedExporter):
    """OpenVINO's own format, checked by OpenVINO before it is written.

    Attributes:
        precision: what it is to be computed in: `"fp32"`, or `"bf16"`, whose file holds its weights
            in 16 bits and whose images differ from PyTorch's a little.
    """

    suffix: ClassVar[str] = ".xml"
    precision: str = "fp32"

    def write(self, model: LoadedModel, out: Path) -> None:
        """Writes the generator, whose images are compared with PyTorch's before.

        Raises:
            ConfigError: without the extra `openvino`, for an unknown precision, or for a model that
                cannot have this form.
            ExportError: if it cannot be exported, or the file's images would not be PyTorch's.
            RunError: if `out` cannot be written.
        """
        if self.precision not in PRECISIONS:
            raise ConfigError(f"`precision` {self.precision}: known: {', '.join(PRECISIONS)}")
        if self.pixels:
            check_8_bit(model)
        needed("openvino", "openvino", f"`out` {out}")
        form, graph = onnx_graph(model, f"`out` {out}", extra="openvino")
        half = self.precision == "bf16"
        xml, weights = _converted(graph, half=half)
        self.check(model, form, self._opened(xml, weights, out), limited=not half)
        if self.pixels:
            xml, weights = _converted(with_pixels(graph, form), half=half)
            self.check_pixels(model, form, self._opened(xml, weights, out), limited=not half)
        header = self.header(model, form, xml + weights, self.precision)
        with reporting_disk_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
        self.weights_file = out.with_suffix(".bin")
        with replacing(self.weights_file) as aside, replacing(out) as own:
            aside.write_bytes(weights)
            own.write_bytes(with_header(xml, json.dumps(header, sort_keys=True)))

    def parity(self, model: LoadedModel, out: Path) -> float | None:
        """The largest difference that `write` found; of `"bf16"` the worst image's PSNR in dB."""
        if self.found is None or self.precision == "fp32":
            return super().parity(model, out)
        return self.found.psnr_db

    def _opened(self, xml: bytes, weights: bytes, out: Path) -> OpenVinoSession:
        threads = torch.get_num_threads()
        return OpenVinoSession(xml, weights, out, threads=threads, precision=self.precision)


def _converted(graph: bytes, *, half: bool) -> tuple[bytes, bytes]:
    """An ONNX model as OpenVINO's, `.xml` and `.bin`, the same bytes every time."""
    openvino = needed("openvino", "openvino", "conversion")
    with contextlib.redirect_stdout(io.StringIO()):
        model = openvino.convert_model(io.BytesIO(graph))
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


def with_header(xml: bytes, text: str) -> bytes:
    """The `.xml` with gancomp's header among the notes at its end."""
    start, end, rest = xml.rpartition(END)
    assert end, "OpenVINO's files end in notes"
    line = f'\t\t<{HEADER_KEY} value="{escape(text)}" />\n'
    return start + line.encode("ascii") + end + rest


def without_header(xml: bytes) -> tuple[bytes, str | None]:
    """The `.xml` as OpenVINO wrote it, and gancomp's header."""
    found = HEADER_LINE.search(xml)
    if found is None:
        return xml, None
    return xml[: found.start()] + xml[found.end() :], unescape(found[1].decode("ascii", "replace"))


def weights_beside(path: Path) -> bytes:
    """The content of the `.bin` that belongs to `path`.

    Raises:
        CheckpointError: if it is not there.
    """
    weights = path.with_suffix(".bin")
    try:
        return weights.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{weights}: cannot be read ({error.strerror}); the weights of {path.name} belong "
            "beside it under this name"
        ) from error
