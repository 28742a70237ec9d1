"""ExecuTorch's programs in its runtime, with gancomp's header behind their last byte."""

from __future__ import annotations

import contextlib
import io
import math
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from gancomp.export.extras import needed, quiet
from gancomp.export.native import HEADER_KEY
from gancomp.export.runtimes import Array, Port, Session, damaged, one_by_one

# how a file ends: the header, its length, this; runtimes read what the program's own header counts
END = f"\n{HEADER_KEY}\n".encode()
LENGTH = 8  # bytes
TYPES = {6: np.float32, 4: np.int64}  # of ExecuTorch's, those that generators take
FLOAT_BYTES = 4


def with_header(program: bytes, text: str) -> bytes:
    """The program with gancomp's header behind it."""
    header = text.encode()
    return program + header + len(header).to_bytes(LENGTH, "little") + END


def without_header(content: bytes) -> tuple[bytes, str | None]:
    """The program as ExecuTorch wrote it, and gancomp's header, if there is one."""
    if not content.endswith(END):
        return content, None
    end = len(content) - len(END) - LENGTH
    start = end - int.from_bytes(content[end : end + LENGTH], "little")
    if start < 0 or end < 0:
        return content, None
    return content[:start], content[start:end].decode("utf-8", "replace")


class ExecuTorchSession(Session):
    """A `.pte` file in ExecuTorch, on the CPU; it takes images of one size, one at a time.

    Args:
        program: without gancomp's header.
        names: of the inputs, which the file does not tell.
    """

    has_vectors = True
    _replaced: ClassVar[int] = 0  # how often the process's pool of threads was replaced

    def __init__(
        self, program: bytes, path: Path, *, threads: int, names: Sequence[str] = ("image",)
    ) -> None:
        runtime = needed("executorch.runtime", "executorch", str(path))
        self._library = needed(
            "executorch.extension.pybindings.portable_lib", "executorch", str(path)
        )
        self._verified = runtime.Verification.InternalConsistency
        self._runtime = runtime.Runtime.get()
        self._program, self._path, self._threads = program, path, threads
        try:
            self._load()
            meta = self._method.metadata
            shapes = [meta.input_tensor_meta(k) for k in range(meta.num_inputs())]
            self._types = [TYPES[item.dtype()] for item in shapes]
            self.inputs = tuple(
                Port(name, tuple(item.sizes()), False)
                for name, item in zip(names, shapes, strict=True)
            )
        except Exception as error:  # RuntimeErrors of the runtime, and what a strange file leads to
            raise damaged(path, error) from error
        self.output = Port("output", (), False)
        self.how = f"executorch {version('executorch')} (XNNPACK), fp32"

    @property
    def weights(self) -> tuple[int, ...]:  # type: ignore[override]  # read when asked for
        """How many numbers each constant has, vectors among them: the file tells no shapes."""
        reader = needed("executorch.exir._serialize._program", "executorch", str(self._path))
        try:
            file = reader.deserialize_pte_binary(self._program)
            delegated = file.named_data.buffers if file.named_data is not None else []
            others = constants_of(file.program)
        except Exception as error:  # of a damaged file
            raise damaged(self._path, error) from error
        return tuple(sorted([*(len(item) // FLOAT_BYTES for item in delegated), *others]))

    def prepare(self) -> None:
        """See `Session`. A program keeps the threads that it was loaded with: it is loaded anew."""
        if self._loaded_for == ExecuTorchSession._replaced and self._has_threads():
            return
        self._load()
        self._run(
            [np.zeros([length or 0 for length in port.shape], kind) for port, kind in self._ports()]
        )

    def run(self, inputs: Sequence[Array]) -> Array:
        """See `Session`.

        Raises:
            ConfigError: for images of another size than the file was made for.
        """
        self.prepare()
        return one_by_one(self._run, inputs, self.inputs, self._path)

    def _ports(self) -> Iterator[tuple[Port, Any]]:
        return zip(self.inputs, self._types, strict=True)

    def _run(self, inputs: Sequence[Array]) -> Array:
        given = [
            torch.from_numpy(np.asarray(values, kind, order="C").reshape(port.shape))
            for values, (port, kind) in zip(inputs, self._ports(), strict=True)
        ]
        output: Array = self._method.execute(given)[0].numpy()
        return output

    def _has_threads(self) -> bool:
        return bool(self._library._threadpool_get_thread_count() == self._threads)

    def _load(self) -> None:
        with _silenced():
            if not self._has_threads():
                ExecuTorchSession._replaced += 1  # what was loaded before knows the old pool
                self._library._unsafe_reset_threadpool(self._threads)
            loaded = self._runtime.load_program(self._program, verification=self._verified)
            self._method = loaded.load_method("forward")
        if self._method is None:
            raise ValueError("it has no method forward")
        self._loaded_for = ExecuTorchSession._replaced


def constants_of(program: Any) -> list[int]:
    """How many numbers each constant has that is no delegate's: an embedding, for one."""
    values = [item.val for plan in program.execution_plan for item in plan.values]
    kept = {
        value.data_buffer_idx: math.prod(value.sizes)
        for value in values
        if getattr(value, "data_buffer_idx", 0) and value.allocation_info is None
        if TYPES.get(value.scalar_type) is np.float32
    }
    return list(kept.values())


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keeps what the runtime writes to stderr by itself away: errors are raised as well."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with (
            open(os.devnull, "wb") as nowhere,
            quiet(),
            contextlib.redirect_stderr(io.StringIO()),  # some of it goes there, in notebooks too
        ):
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
