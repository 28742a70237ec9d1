"""Reads pickles as data: an interpreter that knows containers, numbers and a short list of names.

Python's own unpickler calls whatever a file names, and a list of allowed classes is no cure: some
classes follow a pointer that their arguments hold. Here a name stands for a function of ours that
checks what it is given; nothing that belongs to Python, NumPy or PyTorch is called with what a file
says.
"""

from __future__ import annotations

import pickle
import pickletools
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any

MAX_STEPS = 4_000_000  # instructions; a checkpoint of a thousand tensors has some 30,000
SPARE = 1 << 20  # bytes that calls may copy beyond what was read
SIZED = (bytes, bytearray, str, list, tuple, set, frozenset, dict)
PLAIN = (str, bytes, int, float, bool, type(None))
MARK = object()


class Unplaced:
    """An object that its state still has to be put into; `finish` gives what it then is."""

    def __init__(self, finish: Callable[[Any], Any]) -> None:
        self.finish = finish
        self.places: list[int] = []  # where in the memo it lies


class Named:
    """A name in a pickle and the function of ours that stands for it."""

    def __init__(self, name: str, make: Callable[..., Any]) -> None:
        self.name, self.make = name, make


class UnknownNameError(pickle.UnpicklingError):
    """A pickle names what is on no list.

    Attributes:
        name: `"module.name"`.
        texts: the texts that came before it, which tell what kind of file it is.
    """

    def __init__(self, name: str, texts: list[str]) -> None:
        super().__init__(f"it names {name}")
        self.name, self.texts = name, texts


def keys(items: Iterable[Any]) -> list[Any]:
    """`items`, if they may be keys or members of a set.

    Python hashes those, which goes down into tuples without a limit: deep ones end the process.

    Raises:
        ValueError: unless they are plain values, or tuples of plain values.
    """
    found = list(items)
    for item in found:
        for part in item if isinstance(item, tuple) else (item,):
            if not isinstance(part, PLAIN):
                raise ValueError(f"a {type(part).__name__} within a key")
    return found


class Reader:
    """Interprets one pickle after another from a file.

    Args:
        file: stands at the first instruction.
        names: `"module.name"` -> the function to call instead.
        storage: gives what a persistent id stands for.
    """

    def __init__(
        self,
        file: IO[bytes],
        names: Mapping[str, Callable[..., Any]],
        storage: Callable[[Any], Any] | None = None,
    ) -> None:
        self._file, self._names, self._storage = file, names, storage
        self._steps = self._copied = 0

    def read(self) -> Any:
        """The object that the next pickle describes.

        Raises:
            UnknownNameError: for a name that is on no list.
            ValueError, IndexError, KeyError, TypeError, EOFError: if it is damaged.
        """
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        for opcode, argument, _ in pickletools.genops(self._file):
            self._steps += 1
            if self._steps > MAX_STEPS:
                raise ValueError(f"a description of over {MAX_STEPS:,} steps")
            if opcode.name == "STOP":
                return self._pop()
            if opcode.name in CONSTANTS:
                self._stack.append(CONSTANTS[opcode.name])
            elif opcode.name in LITERALS:
                self._stack.append(argument)
            elif opcode.name in EMPTY:
                self._stack.append(EMPTY[opcode.name]())
            elif opcode.name in ACTIONS:
                ACTIONS[opcode.name](self, argument)
            elif opcode.name not in ("PROTO", "FRAME"):
                raise ValueError(f"the instruction {opcode.name}")
        raise EOFError("it ends early")

    def _pop(self) -> Any:
        item = self._stack.pop()
        if item is MARK:
            raise ValueError("a mark where a value belongs")
        return item

    def _top(self, kind: type[Any] | tuple[type[Any], ...]) -> Any:
        if not isinstance(self._stack[-1], kind):
            raise ValueError(f"a {type(self._stack[-1]).__name__} where a container belongs")
        return self._stack[-1]

    def _since_mark(self) -> list[Any]:
        for position in range(len(self._stack) - 1, -1, -1):
            if self._stack[position] is MARK:
                items = self._stack[position + 1 :]
                del self._stack[position:]
                return items
        raise ValueError("no mark")

    def _mark(self, _: Any) -> None:
        self._stack.append(MARK)

    def _drop(self, _: Any) -> None:
        self._stack.pop()

    def _tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._since_mark()))

    def _short_tuple(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self._stack.append(tuple(reversed(items)))

    def _list(self, _: Any) -> None:
        self._stack.append(self._since_mark())

    def _dict(self, _: Any) -> None:
        items = self._since_mark()
        self._stack.append(dict(zip(keys(items[::2]), items[1::2], strict=True)))

    def _append(self, _: Any) -> None:
        item = self._pop()
        self._top(list).append(item)

    def _appends(self, _: Any) -> None:
        items = self._since_mark()
        self._top(list).extend(items)

    def _add(self, _: Any) -> None:
        items = self._since_mark()
        self._top(set).update(keys(items))

    def _set(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._top(dict)[keys([key])[0]] = value

    def _sets(self, _: Any) -> None:
        items = self._since_mark()
        self._top(dict).update(zip(keys(items[::2]), items[1::2], strict=True))

    def _frozen(self, _: Any) -> None:
        self._stack.append(frozenset(keys(self._since_mark())))

    def _put(self, place: Any) -> None:
        item = self._pop()
        self._stack.append(item)
        if isinstance(item, Unplaced):
            item.places.append(int(place))
        self._memo[int(place)] = item

    def _memoize(self, _: Any) -> None:
        self._put(len(self._memo))

    def _get(self, place: Any) -> None:
        self._stack.append(self._memo[int(place)])

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._look_up(module, name)

    def _stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        self._look_up(module, name)

    def _look_up(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name that is no text")
        full = f"{module}.{name}"
        if full not in self._names:
            raise UnknownNameError(full, [item for item in self._stack if isinstance(item, str)])
        self._stack.append(Named(full, self._names[full]))

    def _call(self, _: Any) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(function, Named) or not isinstance(arguments, tuple):
            raise ValueError("a call of what is no function")
        self._charge(arguments)
        self._stack.append(function.make(*arguments))

    def _charge(self, values: Any) -> None:
        """Refuses calls that copy, again and again, what stands in the file once."""
        items = values if isinstance(values, tuple) else ()
        self._copied += sum(len(item) for item in items if isinstance(item, SIZED))
        if self._copied > 2 * self._file.tell() + SPARE:
            raise ValueError("calls that copy more than it holds")

    def _build(self, _: Any) -> None:
        state, item = self._pop(), self._pop()
        if isinstance(item, Unplaced):
            self._charge(state)
            finished = item.finish(state)
            for place in item.places:
                self._memo[place] = finished
            item = finished
        elif isinstance(item, Namespace) and isinstance(state, dict):
            vars(item).update({str(key): value for key, value in state.items()})
        elif not isinstance(item, OrderedDict | dict):  # whose attributes nobody reads
            raise ValueError(f"a {type(item).__name__} with a state of its own")
        self._stack.append(item)

    def _persistent(self, _: Any) -> None:
        if self._storage is None:
            raise ValueError("a reference out of the description")
        self._stack.append(self._storage(self._pop()))


CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
NUMBERS = ("INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
STRINGS = ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE")
LONG_ONES = ("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
LITERALS = frozenset((*NUMBERS, *STRINGS, *LONG_ONES))
EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
ACTIONS: dict[str, Callable[[Reader, Any], None]] = {
    "MARK": Reader._mark,
    "POP": Reader._drop,
    "TUPLE": Reader._tuple,
    "TUPLE1": lambda reader, _: reader._short_tuple(1),
    "TUPLE2": lambda reader, _: reader._short_tuple(2),
    "TUPLE3": lambda reader, _: reader._short_tuple(3),
    "LIST": Reader._list,
    "DICT": Reader._dict,
    "APPEND": Reader._append,
    "APPENDS": Reader._appends,
    "ADDITEMS": Reader._add,
    "SETITEM": Reader._set,
    "SETITEMS": Reader._sets,
    "FROZENSET": Reader._frozen,
    "PUT": Reader._put,
    "BINPUT": Reader._put,
    "LONG_BINPUT": Reader._put,
    "MEMOIZE": Reader._memoize,
    "GET": Reader._get,
    "BINGET": Reader._get,
    "LONG_BINGET": Reader._get,
    "GLOBAL": Reader._global,
    "STACK_GLOBAL": Reader._stack_global,
    "REDUCE": Reader._call,
    "NEWOBJ": Reader._call,
    "BUILD": Reader._build,
    "BINPERSID": Reader._persistent,
}
