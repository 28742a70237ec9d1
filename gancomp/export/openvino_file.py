"""Writes generators for OpenVINO: an `.xml` file and its weights, `.bin`, beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from html import escape, unescape
from pathlib import Path
from typing import ClassVar

import torch

from gancomp.errors import CheckpointError, ConfigError
from gancomp.export.checked import CheckedExporter
from gancomp.export.extras import needed
from gancomp.export.fixed_form import fixed_shapes, of_one_size
from gancomp.export.form import Form
from gancomp.export.int8 import in_8_bits
from gancomp.export.model import LoadedModel
from gancomp.export.native import HEADER_KEY
from gancomp.export.onnx_file import onnx_graph
from gancomp.export.openvino_model import converted, serialized
from gancomp.export.parity import LEAST_PSNR_DB
from gancomp.export.pixels_graph import check_8_bit, with_pixels
from gancomp.export.quantized import Pictures
from gancomp.export.runtimes import Open, OpenVinoSession
from gancomp.files import replacing, reporting_disk_errors
from gancomp.launch import unheard
from gancomp.sizes import Size, shown_size

PRECISIONS = ("fp32", "bf16", "int8")
END = b"\t</rt_info>\n</net>"
HEADER_LINE = re.compile(rb'\t\t<%s value="([^"]*)" />\n' % HEADER_KEY.encode())


@dataclass
class OpenVino(CheckedExporter):
    """OpenVINO's own format, checked by OpenVINO before it is written.

    Attributes:
        precision: what it is to be computed in: `"fp32"`; `"bf16"`, whose file holds its weights in
            16 bits; or `"int8"`, convolutions alone. Images of the latter two differ from PyTorch's
            a little.
        calibrate: of int8: the pictures for a model, of `size` where there is one.
        min_psnr: of int8: PSNR against full precision that no picture may fall below.
        size: the only one of images that the file takes, one at a time; by default all sizes, in
            any number. OpenVINO plans better for what it knows.
        say: told what takes long.
    """

    suffix: ClassVar[str] = ".xml"
    packages: ClassVar[tuple[str, ...]] = ("openvino", "onnx", "onnxscript")
    extra: ClassVar[str] = "openvino"
    precision: str = "fp32"
    calibrate: Callable[..., Pictures] | None = None
    min_psnr: float | None = None
    size: Size | None = None
    say: Callable[[str], None] = field(default=unheard, init=False)

    def write(self, model: LoadedModel, out: Path) -> None:
        """Writes the generator, whose images are compared with PyTorch's before.

        Raises:
            ConfigError: without the extra `openvino`, for options that do not go together, or for a
                model that cannot have this form.
            ExportError: if it cannot be exported, the file's images would not be PyTorch's, or
                8 bits are not worth it.
            RunError: if `out` cannot be written.
        """
        self._check_options(model)
        if self.pixels:
            check_8_bit(model)
        needed("openvino", "openvino", f"`out` {out}")
        pictures = self.calibrate(model, size=self.size) if self.calibrate is not None else None
        form, graph = onnx_graph(model, f"`out` {out}", extra="openvino")
        half = self.precision == "bf16"
        if self.size is not None:
            form = of_one_size(form, model, self.size)
        whole = converted(graph, fixed_shapes(form, model.network))
        xml, weights = serialized(whole, half=half)
        least_db = LEAST_PSNR_DB if half else None
        self.check(model, form, self._opened(xml, weights, out), least_db=least_db)
        if pictures is not None:
            xml, weights = self._in_8_bits(model, form, graph, out, pictures)
        elif self.pixels:
            xml, weights = serialized(converted(with_pixels(graph, form)), half=half)
            self.check_pixels(model, form, self._opened(xml, weights, out), limited=not half)
        header = self.header(model, form, xml + weights, self.precision)
        with reporting_disk_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
        self.weights_file = out.with_suffix(".bin")
        with replacing(self.weights_file) as aside, replacing(out) as own:
            aside.write_bytes(weights)
            own.write_bytes(with_header(xml, json.dumps(header, sort_keys=True)))

    def parity(self, model: LoadedModel, out: Path) -> float | None:
        """The largest difference that `write` found; of less precision the worst PSNR in dB."""
        if self.found is None or self.precision == "fp32":
            return super().parity(model, out)
        return self.found.psnr_db

    def opener(self, model: LoadedModel, named: str) -> Open:
        """See `Timed`; for images of all sizes, and not in 8 bits."""
        _, graph = onnx_graph(model, named, extra="openvino")
        xml, weights = serialized(converted(graph), half=self.precision == "bf16")
        return lambda threads: OpenVinoSession(
            xml, weights, model.path, threads=threads, precision=self.precision
        )

    def _check_options(self, model: LoadedModel) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigError(f"`precision` {self.precision}: known: {', '.join(PRECISIONS)}")
        if self.size is not None and self.pixels:
            raise ConfigError(
                f"`size` {shown_size(self.size)}: files with `pixels` take all sizes; remove one "
                "of the two"
            )
        if self.precision != "int8":
            for flag, value in (("`calibrate`", self.calibrate), ("`min_psnr`", self.min_psnr)):
                if value is not None:
                    raise ConfigError(f"{flag}: only matters for `precision` int8; give that too")
        elif self.min_psnr is not None and not self.min_psnr > 0:
            raise ConfigError(f"`min_psnr` {self.min_psnr:g}: must be above 0; 40 is the default")
        elif self.calibrate is None:
            raise ConfigError(
                "`precision` int8: needs pictures as the model is to be given; add `calibrate`"
            )

    def _in_8_bits(
        self, model: LoadedModel, form: Form, graph: bytes, out: Path, pictures: Pictures
    ) -> tuple[bytes, bytes]:
        least_db = LEAST_PSNR_DB if self.min_psnr is None else self.min_psnr
        made = in_8_bits(
            model,
            form,
            graph,
            out,
            pictures=pictures,
            least_db=least_db,
            pixels=self.pixels,
            say=self.say,
        )
        assert self.found is not None
        assert self.checked is not None
        self.found = replace(made.parity, sizes=self.found.sizes)
        self.checked |= self.found.recorded() | {"quantized": made.recorded}
        return made.xml, made.weights

    def _opened(self, xml: bytes, weights: bytes, out: Path) -> OpenVinoSession:
        threads = torch.get_num_threads()
        return OpenVinoSession(xml, weights, out, threads=threads, precision=self.precision)


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
