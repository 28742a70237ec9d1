"""Convolutions in 8 bits, by NNCF: as many of them as leave the pictures what they were.

Norms, sums, pads and activations stay in floating point: in 8 bits, they cost a generator of images
far more than they save.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gancomp.export.extras import needed, quiet
from gancomp.export.openvino_model import serialized
from gancomp.export.parity import ExportError, as_images, psnr_db
from gancomp.export.runtimes import Array, OpenVinoSession

CONVOLUTIONS = (
    "Convolution",
    "GroupConvolution",
    "ConvolutionBackpropData",
    "GroupConvolutionBackpropData",
)
MOST_DB = 100.0  # of a picture that is all but equal
TRIED_ALONE = 8  # pictures by which the layers' shares of the error are told apart
SPARE_DB = 1.0  # by which a choice of layers must be expected to do better than asked for
MORE = 10  # layers of a network in a tenth of them: how many more are left out after a failure


@dataclass(frozen=True)
class Pictures:
    """What a network is quantized by, and judged by.

    Attributes:
        folder: where they are from.
        names: of the files.
        images: `(1, C, H, W)` in [-1, 1] each, as the network takes them.
    """

    folder: str
    names: tuple[str, ...]
    images: tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Quality:
    """How far the pictures of a file are from those in full precision.

    Attributes:
        psnr_db: of each picture.
        names: of the pictures.
    """

    psnr_db: tuple[float, ...]
    names: tuple[str, ...]

    @property
    def worst(self) -> float:
        """The PSNR of the worst picture."""
        return min(self.psnr_db)

    def recorded(self) -> dict[str, Any]:
        """For people and programs; every second picture was not calibrated on."""
        worst = self.names[self.psnr_db.index(self.worst)]
        held_out = self.psnr_db[1::2]
        return {
            "pictures": len(self.names),
            "psnr_db": {"mean": _mean(self.psnr_db), "worst": round(self.worst, 1)},
            "worst_picture": worst,
            "held_out": len(held_out),
            "held_out_psnr_db": {"mean": _mean(held_out), "worst": round(min(held_out), 1)}
            if held_out
            else None,
        }


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 1)


@dataclass(frozen=True)
class Quantized:
    """A model in 8 bits.

    Attributes:
        xml: of OpenVINO's two files.
        weights: the other one.
        quality: of its pictures.
        left_out: convolutions that stay in floating point.
        layers: convolutions in all.
    """

    xml: bytes
    weights: bytes
    quality: Quality
    left_out: tuple[str, ...]
    layers: int


class Quantizer:
    """Finds which convolutions of a model can be computed in 8 bits.

    Args:
        model: of OpenVINO, in float32.
        pictures: every second one calibrates, all of them judge.
        out: the file that is to be written, for messages.
        inputs: the model's input for an image.
        say: told what takes long.
    """

    def __init__(
        self,
        model: Any,
        pictures: Pictures,
        out: Path,
        *,
        inputs: Callable[[torch.Tensor], Array],
        say: Callable[[str], None],
    ) -> None:
        self._nncf = needed("nncf", "openvino", f"`out` {out}")
        self._model, self._pictures, self._out, self._say = model, pictures, out, say
        operations = model.get_ordered_ops()
        self._layers = [
            item.get_friendly_name() for item in operations if item.get_type_name() in CONVOLUTIONS
        ]
        kinds = {item.get_type_name() for item in operations}
        self._floating = sorted(kinds - {*CONVOLUTIONS, "Constant"})
        self.given = [inputs(image) for image in pictures.images]
        whole = self._session(*serialized(model.clone()))
        self._wanted = [whole.run([given]) for given in self.given]

    def search(self, least_db: float) -> Quantized:
        """All convolutions in 8 bits; or all but the first and the last; or all but the worst.

        Args:
            least_db: PSNR that no picture may fall below.

        Raises:
            ExportError: if even half of the convolutions are too many.
        """
        ends = {self._layers[0], self._layers[-1]}
        for left_out in (set(), ends):
            found = self._tried(left_out)
            if found.quality.worst >= least_db:
                return found
            self._say(
                f"{found.quality.worst:.1f} dB at worst with {self._number(left_out)} in 8 bits"
            )
        return self._without_the_worst(least_db)

    def _without_the_worst(self, least_db: float) -> Quantized:
        self._say(f"trying each of {len(self._layers)} convolutions alone, which takes a while")
        errors = self._errors()
        order = sorted(self._layers, key=lambda name: errors[name], reverse=True)
        allowed = 4.0 / 10 ** ((least_db + SPARE_DB) / 10)
        most = len(order) // 2
        count = next(
            (k for k in range(most) if sum(errors[name] for name in order[k:]) <= allowed), most
        )
        while True:
            found = self._tried(set(order[:count]))
            if found.quality.worst >= least_db:
                return found
            if count == most:
                break
            count = min(most, count + math.ceil(len(order) / MORE))
        raise ExportError(
            f"`out` {self._out}: in 8 bits, this generator's pictures of {self._pictures.folder} "
            f"keep {found.quality.worst:.1f} dB at worst even with half of its convolutions left "
            f"out, `min_psnr` asks for {least_db:g}; nothing was written, use `precision` bf16"
        )

    def _number(self, left_out: Collection[str]) -> str:
        return f"{len(self._layers) - len(left_out)} of {len(self._layers)} convolutions"

    def _tried(self, left_out: Collection[str]) -> Quantized:
        """The model with all convolutions but these in 8 bits, and how good it is."""
        xml, weights = self._quantized(left_out, self.given[::2])
        session = self._session(xml, weights)
        found = [
            psnr_db(as_images(session.run([given])), as_images(wanted))
            for given, wanted in zip(self.given, self._wanted, strict=True)
        ]
        names = [name for name in self._layers if name in left_out]
        quality = Quality(tuple(min(value, MOST_DB) for value in found), self._pictures.names)
        return Quantized(xml, weights, quality, tuple(names), len(self._layers))

    def _errors(self) -> dict[str, float]:
        """The largest mean squared error, of images in [-1, 1], that each layer makes alone."""
        chosen, errors = slice(None, None, max(1, len(self.given) // TRIED_ALONE)), {}
        for name in self._layers:
            others = [other for other in self._layers if other != name]
            session = self._session(*self._quantized(others, self.given[chosen]))
            pairs = zip(self.given[chosen], self._wanted[chosen], strict=True)
            found = [psnr_db(as_images(session.run([a])), as_images(b)) for a, b in pairs]
            errors[name] = 4.0 / 10 ** (min(found) / 10)
        return errors

    def _quantized(self, left_out: Collection[str], given: list[Array]) -> tuple[bytes, bytes]:
        scope = self._nncf.IgnoredScope(
            types=self._floating, names=sorted(left_out), validate=False
        )
        ranges = self._nncf.quantization.range_estimator.RangeEstimatorParametersSet
        # NNCF's quick correction of biases guesses them from one constant map per layer, which
        # does more harm to images than the rounding; its ranges by default are averages over the
        # pictures, so that the brighter half of them would be clipped
        advanced = self._nncf.AdvancedQuantizationParameters(
            disable_bias_correction=True, activations_range_estimator_params=ranges.MINMAX
        )
        with quiet():
            model = self._nncf.quantize(
                self._model,
                self._nncf.Dataset(given),
                subset_size=len(given),
                preset=self._nncf.QuantizationPreset.MIXED,
                ignored_scope=scope,
                advanced_parameters=advanced,
            )
        return serialized(model)

    def _session(self, xml: bytes, weights: bytes) -> OpenVinoSession:
        threads = torch.get_num_threads()
        return OpenVinoSession(xml, weights, self._out, threads=threads, precision="int8")
