"""Runs exported files by the runtimes they are made for."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gancomp.errors import CheckpointError, ConfigError
from gancomp.export.containers import shortened
from gancomp.export.extras import needed

Array = NDArray[Any]
WEIGHTS = ("f32", "f16", "bf16", "i8", "u8")  # types of constants that are no sizes or indices


Open = Callable[[int], "Session"]  # a file, by the number of threads


def is_large(shape: Sequence[int]) -> bool:
    """Whether a weight of this shape is more than a vector, which runtimes fold into others."""
    return sum(length > 1 for length in shape) > 1


@dataclass(frozen=True)
class Port:
    """An input or output of an exported file.

    Attributes:
        name: as the file has it.
        shape: a number where the size is fixed, else None.
        is_8_bit: whether it holds uint8.
    """

    name: str
    shape: tuple[int | None, ...]
    is_8_bit: bool


class Session(ABC):
    """An exported file, ready to run on a number of threads.

    Attributes:
        how: runtime, version and precision, in words.
        inputs: in their order.
        output: the images.
        weights: how many numbers each has, in order; of those that are no vectors.
        has_vectors: whether they are among them all the same, as the file tells no shapes.
    """

    how: str
    inputs: tuple[Port, ...]
    output: Port
    weights: tuple[int, ...]
    has_vectors: bool = False

    def prepare(self) -> None:  # noqa: B027  # most have nothing to do
        """Makes the next run a warm one, if others have run in between."""

    @abstractmethod
    def run(self, inputs: Sequence[Array]) -> Array:
        """The output for these inputs, which are arrays of the inputs' types."""


class OnnxSession(Session):
    """A `.onnx` file in ONNX Runtime, on the CPU.

    Attributes:
        notes: the file's metadata.
    """

    def __init__(self, content: bytes, path: Path, *, threads: int, precision: str) -> None:
        runtime = needed("onnxruntime", "onnx", str(path))
        assert precision == "fp32", "the exporter writes no other"
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # errors are raised, and need not be printed as well
        # its threads would else stay busy for a while after a run, at the next one's cost
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self._session = runtime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # of the runtime's own types, which it does not document
            raise damaged(path, error) from error
        self.how = f"onnxruntime {runtime.__version__}, fp32"
        self.notes = dict(self._session.get_modelmeta().custom_metadata_map)
        self.inputs = tuple(_onnx_port(item) for item in self._session.get_inputs())
        self.output = _onnx_port(self._session.get_outputs()[0])
        self._content, self._path = content, path

    @property
    def weights(self) -> tuple[int, ...]:  # type: ignore[override]  # read when asked for
        """See `Session`."""
        onnx = needed("onnx", "onnx", str(self._path))
        graph = onnx.load_from_string(self._content).graph
        kept = [item for item in graph.initializer if item.data_type == onnx.TensorProto.FLOAT]
        return tuple(sorted(math.prod(item.dims) for item in kept if is_large(item.dims)))

    def run(self, inputs: Sequence[Array]) -> Array:
        """See `Session`."""
        named = {port.name: values for port, values in zip(self.inputs, inputs, strict=True)}
        output: Array = self._session.run([self.output.name], named)[0]
        return output


def _onnx_port(item: Any) -> Port:
    shape = tuple(length if isinstance(length, int) else None for length in item.shape)
    return Port(item.name, shape, item.type == "tensor(uint8)")


class OpenVinoSession(Session):
    """An `.xml` file and its `.bin` in OpenVINO, on the CPU."""

    def __init__(
        self, xml: bytes, weights: bytes, path: Path, *, threads: int, precision: str
    ) -> None:
        openvino = needed("openvino", "openvino", str(path))
        core = openvino.Core()
        # without the second, processors that have bf16 compute in it unasked
        hints = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            model = core.read_model(model=xml, weights=weights)
            self.weights = _openvino_weights(model)
            self._compiled = core.compile_model(model, "CPU", hints)
            self._request = self._compiled.create_infer_request()
        except Exception as error:  # of many types of the runtime's
            raise damaged(path, error) from error
        self._path = path
        self.how = f"openvino {openvino.__version__.partition('-')[0]}, {precision}"
        self.inputs = tuple(_openvino_port(item) for item in self._compiled.inputs)
        self.output = _openvino_port(self._compiled.outputs[0])

    def run(self, inputs: Sequence[Array]) -> Array:
        """See `Session`."""
        if self.inputs[0].shape[0] == 1:
            return one_by_one(self._run, inputs, self.inputs, self._path)
        return self._run(inputs)

    def _run(self, inputs: Sequence[Array]) -> Array:
        given = dict(enumerate(np.asarray(values, order="C") for values in inputs))
        output: Array = self._request.infer(given, share_inputs=True)[0]
        return output


def one_by_one(
    run: Callable[[Sequence[Array]], Array],
    inputs: Sequence[Array],
    ports: Sequence[Port],
    path: Path,
) -> Array:
    """The output of a file that takes one image of one size; what has no batch is for each.

    Raises:
        ConfigError: for images of another size than the file was made for.
    """
    for port, values in zip(ports, inputs, strict=True):
        if tuple(values.shape[1:]) != port.shape[1:]:
            raise ConfigError(_other_size(path, values.shape, port.shape))
    count = max(len(values) for values in inputs if values.ndim)
    images = (
        [values[k : k + 1] if values.ndim else values for values in inputs] for k in range(count)
    )
    return np.concatenate([run(image) for image in images])


def _other_size(path: Path, given: Sequence[int], taken: Sequence[int | None]) -> str:
    if len(taken) != 4:
        return f"{path}: takes {tuple(taken)}, these are {tuple(given)}"
    return (
        f"{path}: takes images of {taken[2]}x{taken[3]} alone, this one has "
        f"{given[2]}x{given[3]} (height x width); resize it, or export the model for its `size`"
    )


def _openvino_weights(model: Any) -> tuple[int, ...]:
    constants = (item for item in model.get_ops() if item.get_type_name() == "Constant")
    kept = [item for item in constants if item.get_element_type().get_type_name() in WEIGHTS]
    shapes = (tuple(item.get_output_shape(0)) for item in kept)
    return tuple(sorted(math.prod(shape) for shape in shapes if is_large(shape)))


def _openvino_port(item: Any) -> Port:
    shape = tuple(
        length.get_length() if length.is_static else None for length in item.partial_shape
    )
    return Port(item.any_name, shape, item.element_type.get_type_name() == "u8")


def damaged(path: Path, error: Exception | str) -> CheckpointError:
    """That an exported file cannot be used, and why, in one line."""
    reason = shortened(" ".join(str(error).split()))
    return CheckpointError(f"{path}: damaged exported file ({reason[:200]}); export it again")
