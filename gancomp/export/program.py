"""Opens and runs `.pt2` files: weights and a graph of PyTorch's own operations, nothing else.

`torch.export.load` is no safe reader of strangers' files: it unpickles some entries, evaluates
expressions of sizes, and compiles conditions out of text. Files that hold anything of that kind
beyond plain arithmetic are refused before it sees them.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gancomp.errors import CheckpointError
from gancomp.export.extras import quiet
from gancomp.export.native import HEADER_KEY
from gancomp.export.runtimes import Array, Port, Session, damaged, is_large

HEADER = f"extra/{HEADER_KEY}"
IDENTITY = ".data/serialization_id"  # of all other entries, the header among them
PLAIN = {  # entries of the archive, below its root
    "archive_format",
    "archive_version",
    "byteorder",
    ".data/version",
    IDENTITY,
    HEADER,
    "models/model.json",
    "data/sample_inputs/model.pt",
    "data/weights/model_weights_config.json",
    "data/constants/model_constants_config.json",
}
TENSORS = re.compile(r"data/(weights/weight|constants/tensor)_\d+")
# operations of PyTorch's own, but for the one that opens files
OPERATIONS = re.compile(
    r"torch\.ops\.aten\.(?!from_file)\w+\.\w+"
    r"|torch\.ops\.higher_order\.wrap_with_(autocast|set_grad_enabled)"
    r"|_operator\.(add|sub|mul|floordiv|mod|neg|pow|getitem)"
)
SYMBOL = r"Symbol\('[su]\d+'(?:, (?:positive|nonnegative|integer)=True)*\)"
NUMBERS = r"(?:Add|Mul|Pow|Integer|Rational|FloorDiv|CleanDiv|Mod|PythonMod|Max|Min)\("
SIZE = re.compile(rf"(?:{SYMBOL}|{NUMBERS}|[su]\d+|\d+|[-+*/(), ])*")
TEXT = re.compile(r"[\w .:,+\-\[\]{}\"]*")  # no brackets that would call anything
MOST_BYTES = 1 << 33


class ProgramSession(Session):
    """A `.pt2` file, run by PyTorch on the CPU."""

    def __init__(self, content: bytes, path: Path, *, threads: int) -> None:
        entries = _entries(content, path)
        try:
            _refuse_code(entries)
            with quiet():
                program = torch.export.load(io.BytesIO(content))
                self._module = program.module(check_guards=False)
        except Exception as error:  # of a damaged file, torch raises what it likes
            raise damaged(path, error) from error
        self._threads = threads
        self.how = f"torch.export, torch {torch.__version__}, fp32"
        self.weights = large_weights(program.state_dict.values(), program.constants.values())
        signature = program.graph_signature
        values = {node.name: node.meta.get("val") for node in program.graph.nodes}
        self.inputs = tuple(_port(name, values[name]) for name in signature.user_inputs)
        self.output = Port("output", (), False)

    def run(self, inputs: Sequence[Array]) -> Array:
        """See `Session`."""
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            with torch.no_grad():
                output: Tensor = self._module(*(torch.from_numpy(item) for item in inputs))
        finally:
            torch.set_num_threads(before)
        array: Array = output.numpy()
        return array


def large_weights(*groups: Iterable[Any]) -> tuple[int, ...]:
    """See `Session.weights`."""
    tensors = (item for group in groups for item in group if isinstance(item, Tensor))
    return tuple(sorted(item.numel() for item in tensors if is_large(item.shape)))


def header_in(content: bytes, path: Path) -> str | None:
    """Gancomp's header, if the archive has one."""
    found = _entries(content, path).get(HEADER)
    return None if found is None else found.decode("utf-8", "replace")


def _port(name: str, value: Any) -> Port:
    shape = tuple(length if isinstance(length, int) else None for length in value.shape)
    return Port(name, shape, False)


def content_of(content: bytes, path: Path) -> bytes:
    """All that the archive holds but gancomp's header, so that a digest can be told in it."""
    entries = _entries(content, path)
    kept = sorted(entries.keys() - {HEADER, IDENTITY})
    return b"".join(name.encode() + b"\0" + entries[name] for name in kept)


def _entries(content: bytes, path: Path) -> dict[str, bytes]:
    """The archive's entries by name.

    Raises:
        CheckpointError: if it is damaged, or has others than weights and a graph.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found = archive.infolist()
            if any(item.compress_type for item in found) or len(content) > MOST_BYTES:
                raise damaged(path, "it is compressed, which torch never writes")
            entries = {item.filename.partition("/")[2]: archive.read(item) for item in found}
    except CheckpointError:
        raise
    except Exception as error:  # zipfile raises many kinds
        raise damaged(path, error) from error
    for name in entries:
        if name not in PLAIN and not TENSORS.fullmatch(name):
            raise damaged(path, f"it holds {name} beside weights and graph")
    if len(entries) != len(found):
        raise damaged(path, "it holds two entries of one name")
    return entries


def _refuse_code(entries: dict[str, bytes]) -> None:
    """Raises ValueError where opening the file could run more than PyTorch's own operations."""
    if entries.get("data/sample_inputs/model.pt"):
        raise ValueError("it holds pickled inputs")
    for name in ("weights", "constants"):
        config = json.loads(entries[f"data/{name}/model_{name}_config.json"])["config"]
        for item in config.values():
            if item["use_pickle"] or not TENSORS.fullmatch(f"data/{name}/{item['path_name']}"):
                raise ValueError(f"it holds pickled {name}")
    model = json.loads(entries["models/model.json"])
    if model.get("guards_code"):
        raise ValueError("it holds conditions to be compiled")
    for key, text in _texts(model):
        allowed = {"target": OPERATIONS, "expr_str": SIZE, "range_constraints": SIZE}.get(key, TEXT)
        if not allowed.fullmatch(text):
            raise ValueError(f"it holds {key} {text[:60]!r}, which could run code")


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a document with the name of its entry; names themselves, too."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield key if key == "range_constraints" else "name", name
            yield from _texts(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, key)
    elif isinstance(value, str):
        yield key, value
