"""The short list of what a model file may name, each with a function that checks its arguments."""

from __future__ import annotations

import math
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gancomp.export.pickles import Named, Unplaced, keys

NUMERIC = ("b1", "f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "c8", "c16")
MAX_SHAPE = 32  # dimensions
MAX_EMPTY = 1 << 31  # what an empty tensor may have as a size; larger ones make torch overflow
STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}


@dataclass
class Storage:
    """The numbers that tensors of a file share, as one row."""

    row: Tensor


@dataclass(frozen=True)
class NumericType:
    """A NumPy type of plain numbers."""

    dtype: np.dtype[Any]


def view(storage: Any, offset: Any, size: Any, stride: Any) -> Tensor:
    """The tensor that a file says lies in `storage`.

    Raises:
        ValueError: if it would reach out of the storage, or have more numbers than it (a file of
            10 KB would claim any memory).
    """
    sizes, steps = _counts(size, "size"), _counts(stride, "stride")
    if not isinstance(storage, Storage):
        raise ValueError("a tensor without a storage")
    if len(sizes) != len(steps) or len(sizes) > MAX_SHAPE:
        raise ValueError(f"a tensor of {len(sizes)} sizes and {len(steps)} strides")
    (first,) = _counts((offset,), "offset")
    count, available = math.prod(sizes), len(storage.row)
    last = first + sum((n - 1) * step for n, step in zip(sizes, steps, strict=True))
    if count and (last >= available or count > available):
        raise ValueError(
            f"a tensor of size {list(sizes)} and strides {list(steps)} in {available} numbers"
        )
    if not count:
        if max(sizes) > MAX_EMPTY:
            raise ValueError(f"an empty tensor of size {list(sizes)}")
        return storage.row.new_empty(sizes)
    return storage.row.as_strided(sizes, steps, first)


def _view(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    return view(storage, offset, size, stride)


def _parameter(data: Any, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise ValueError("a parameter that is no tensor")
    return data


def _special(size: Any) -> Tensor:
    """What stands for a tensor that is not stored as a row of numbers: its size, without memory."""
    sizes = _counts(size, "size")
    if len(sizes) > MAX_SHAPE or math.prod(max(1, n) for n in sizes) > MAX_EMPTY:
        raise ValueError(f"a tensor of size {list(sizes)}")
    return torch.empty(sizes, device="meta")


def _sparse(_: Any, data: Any) -> Tensor:
    if not isinstance(data, tuple) or len(data) < 3:
        raise ValueError("a sparse tensor without a size")
    return _special(data[2])


def _from_type(function: Any, _: Any, arguments: Any, __: Any) -> Tensor:
    if not isinstance(function, Named) or not function.name.startswith("torch._utils._rebuild_"):
        raise ValueError("a tensor that no known function makes")
    if not isinstance(arguments, tuple):
        raise ValueError("a tensor made of no list of arguments")
    return _parameter(function.make(*arguments))


def _counts(values: Any, what: str) -> tuple[int, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        raise ValueError(f"a {what} that is no list of numbers")
    if any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in values):
        raise ValueError(f"a {what} that is no list of counts")
    return tuple(values)


def _numeric_type(code: Any, *_: Any) -> Unplaced:
    text = code.decode("latin1") if isinstance(code, bytes) else code
    if not isinstance(text, str):
        raise ValueError("a NumPy type that is no text")
    if text not in NUMERIC:
        raise ValueError(f"a NumPy type {text!r}, which is not one of plain numbers")
    plain = np.dtype(text)

    def finish(state: Any) -> NumericType:
        """State: version, byte order, subarray, names, fields, size, alignment, flags."""
        order = state[1] if isinstance(state, tuple) and len(state) > 4 else None
        text = order.decode("latin1") if isinstance(order, bytes) else order
        if text not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise ValueError("a NumPy type of fields, subarrays or another kind of its own")
        return NumericType(np.dtype(f"{text}{plain.str[1:]}"))

    return Unplaced(finish)


def _scalar(kind: Any, content: Any) -> Any:
    if not isinstance(kind, NumericType):
        raise ValueError("a NumPy number of no plain type")
    return numbers(kind, (1,), content)[0]


def _array(*_: Any) -> Unplaced:
    def finish(state: Any) -> Any:
        """State: version, shape, type, whether columns come first, bytes."""
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise ValueError("a NumPy array without shape, type and content")
        shape, kind, columns_first, content = state[-4:]
        return numbers(kind, shape, content, columns_first=bool(columns_first))

    return Unplaced(finish)


def _array_of_buffer(content: Any, kind: Any, shape: Any, order: Any) -> Any:
    return numbers(kind, shape, content, columns_first=order == "F")


def numbers(kind: Any, shape: Any, content: Any, *, columns_first: bool = False) -> Any:
    """A NumPy array of plain numbers that are all in `content`.

    Raises:
        ValueError: if the type is not one of plain numbers, or `content` is not as long as type
            and shape say.
    """
    if not isinstance(kind, NumericType):
        raise ValueError("a NumPy array of no plain numbers")
    if not isinstance(content, bytes | bytearray):
        raise ValueError("a NumPy array whose content is not bytes")
    sizes = _counts(shape, "shape")
    if len(sizes) > MAX_SHAPE or math.prod(sizes) * kind.dtype.itemsize != len(content):
        raise ValueError(f"a NumPy array of shape {list(sizes)} in {len(content)} bytes")
    if any(n > MAX_EMPTY for n in sizes):
        raise ValueError(f"a NumPy array of shape {list(sizes)}")
    order = "F" if columns_first else "C"
    return np.frombuffer(bytes(content), kind.dtype).reshape(sizes, order=order)  # type: ignore[call-overload]  # order is one of two


def _encoded(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "utf-8"):
        raise ValueError("bytes in an encoding of their own")
    return text.encode(encoding)


def _plain(kind: Callable[..., Any], *accepted: type[Any]) -> Callable[..., Any]:
    """A function that makes a `kind` of nothing, or of one argument of the accepted types."""

    def make(*arguments: Any) -> Any:
        if len(arguments) > 1 or not all(isinstance(item, accepted) for item in arguments):
            raise ValueError(f"a {kind.__name__} of other things")
        return kind(*arguments)

    return make


def _dictionary(*arguments: Any) -> OrderedDict[Any, Any]:
    pairs = arguments[0] if arguments and isinstance(arguments[0], list) else []
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise ValueError("a dictionary of other things than pairs")
    return OrderedDict(
        zip(keys(pair[0] for pair in pairs), (pair[1] for pair in pairs), strict=True)
    )


def _members(kind: Callable[..., Any]) -> Callable[..., Any]:
    """A function that makes a set of nothing, or of plain values."""

    def make(*arguments: Any) -> Any:
        if len(arguments) > 1 or not all(isinstance(item, list | tuple) for item in arguments):
            raise ValueError(f"a {kind.__name__} of other things")
        return kind(keys(arguments[0]) if arguments else ())

    return make


def _device(*parts: Any) -> str:
    if not all(isinstance(part, str | int) for part in parts):
        raise ValueError("a device of other things")
    return ":".join(map(str, parts))


def _complex(*arguments: Any) -> complex:
    if not all(isinstance(item, int | float) for item in arguments):
        raise ValueError("a complex number of other things")
    return complex(*arguments)


def _text(*arguments: Any) -> str:
    if not all(isinstance(item, str) for item in arguments):
        raise ValueError("a path of other things")
    return str(PurePosixPath(*arguments))


def _inert(*_: Any) -> None:
    """What is named only as an argument, and never called."""
    raise ValueError("a call of a type")


def _names() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {
        "torch._utils._rebuild_tensor": _view,
        "torch._utils._rebuild_tensor_v2": _view,
        "torch._utils._rebuild_parameter": _parameter,
        "torch._utils._rebuild_parameter_with_state": _parameter,
        "torch._utils._rebuild_sparse_tensor": _sparse,
        "torch._utils._rebuild_qtensor": lambda _, __, size, *___: _special(size),
        "torch._utils._rebuild_tensor_v3": lambda _, __, size, *___: _special(size),
        "torch._utils._rebuild_meta_tensor_no_storage": lambda _, size, *__: _special(size),
        "torch._tensor._rebuild_from_type_v2": _from_type,
        "torch.Tensor": _inert,
        "torch.nn.parameter.Parameter": _inert,
        "torch.Size": lambda sizes=(): _counts(sizes, "size"),
        "torch.device": _device,
        "torch.serialization._get_layout": _plain(str, str),
        "collections.OrderedDict": _dictionary,
        "collections.Counter": _plain(dict, dict),
        "collections.defaultdict": _dictionary,
        "argparse.Namespace": _plain(Namespace),
        "numpy.ndarray": _inert,
        "numpy.dtype": _numeric_type,
        "_codecs.encode": _encoded,
    }
    for module in ("torch", "torch.cuda", "torch.storage"):
        found |= {f"{module}.{name}": _inert for name in STORAGES}
    found |= {f"torch.storage.{name}": _inert for name in ("UntypedStorage", "TypedStorage")}
    for module in ("numpy.core", "numpy._core"):
        found[f"{module}.multiarray.scalar"] = _scalar
        found[f"{module}.multiarray._reconstruct"] = _array
        found[f"{module}.numeric._frombuffer"] = _array_of_buffer
    for module in ("builtins", "__builtin__"):
        found |= {
            f"{module}.set": _members(set),
            f"{module}.frozenset": _members(frozenset),
            f"{module}.bytearray": _plain(bytearray, bytes),
            f"{module}.bytes": _plain(bytes),  # how protocol 2 has an empty one
            f"{module}.complex": _complex,
            f"{module}.list": _inert,  # what a defaultdict makes
            f"{module}.dict": _inert,
            f"{module}.int": _inert,
            f"{module}.float": _inert,
        }
    for name in ("PurePath", "PurePosixPath", "PosixPath", "WindowsPath", "Path"):
        found[f"pathlib.{name}"] = found[f"pathlib._local.{name}"] = _text
    for module in ("pytorch_lightning.utilities.parsing", "lightning.fabric.utilities.data"):
        found[f"{module}.AttributeDict"] = _plain(dict, dict)
    return found | {
        str(dtype): _inert for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)
    }


NAMES = _names()
