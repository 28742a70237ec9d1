"""The errors a user can fix: each becomes one `error: …` line and exit status 2."""

from __future__ import annotations

import errno
import io
import os
import pickle
import re
from pathlib import PurePath
from traceback import walk_tb

WAYS_OUT = {
    errno.EMFILE: "raise the limit with ulimit -n, or use fewer `workers`",
    errno.ENFILE: "close other programs, or use fewer `workers`",
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.ENAMETOOLONG: "use shorter names",
    errno.ELOOP: "its links lead in a circle",
    errno.EACCES: "check its permissions, or choose another place",
    errno.EPERM: "check its permissions, or choose another place",
    errno.EROFS: "choose another place",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a part of the path is a file; choose another place",
    errno.EEXIST: "choose another place",
    errno.EISDIR: "it is a folder; name a file",
    errno.ENOMEM: "close other programs, or use a smaller `size`, `batch_size` or `width`",
    errno.EIO: "the disk or the network behind it fails; copy what is there and use another",
}
# what only a defect of ours provokes: readers of our streams may leave
DEFECTS = (errno.EBADF, errno.EFAULT, errno.EPIPE)
LESS_MEMORY = (
    "use a smaller `size`, `batch_size` or `width`, fewer `workers`, or raise the limit (ulimit -v)"
)
# how torch, Python and the loader of libraries say that the system gave them none
NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "can't start new thread",
    "failed to map segment",
    "Cannot allocate memory",
)


# `name` or, where a switch is to be on or off, `name=True` or `name=False`
FIELD = re.compile(r"`(?P<name>[a-z][a-z0-9_]*)(?:=(?P<value>True|False))?`")


class GancompError(Exception):
    """Base of every error whose message is meant for the person at the keyboard.

    The message names the option or file, the offending value, what is allowed and the way out,
    in one line. Options stand in it as fields, the names that Python knows them by, between
    backticks: `` `batch_size` 0: must be at least 1``; the command line alone makes flags of them.
    """

    @property
    def field(self) -> str | None:
        """The field that the message begins with, if any."""
        match = FIELD.match(str(self))
        return match["name"] if match else None


class ConfigError(GancompError):
    """An option, setting or name that cannot be used as given."""


class DataError(GancompError):
    """A dataset or image that is missing, incomplete or unreadable."""


class CheckpointError(GancompError):
    """A model file or checkpoint that is missing, damaged or of an unknown layout."""


class MissingPartError(CheckpointError):
    """A model file that does not hold the network that was asked for by name."""


class WeightsError(GancompError):
    """Pretrained weights (VGG, Inception) that are neither on disk nor to be downloaded."""


class RunError(GancompError):
    """A run folder that cannot be written, continued or is in use by another process."""


class TrainingError(GancompError):
    """Training that cannot go on: a term or a parameter became non-finite."""


def why_unreadable(error: Exception) -> str:
    """One line on why a file of weights could not be read."""
    if isinstance(error, pickle.UnpicklingError):
        # PyTorch's own text advises to open the file unsafely: never pass it on
        return "it holds something else than tensors, which was not run"
    return f"{type(error).__name__}: {error}".splitlines()[0]


def one_line(error: Exception) -> str:
    """The error's text on one line, or its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def printable(text: str) -> str:
    """`text` without what a terminal would obey or cannot show: such characters are spelled out.

    Names of files and headers of models may hold anything.
    """
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def explain_system_error(error: OSError) -> str:
    """One line with the file that the system refused, its reason and a way out."""
    named = [os.fsdecode(name) for name in (error.filename, error.filename2) if _is_name(name)]
    where = " -> ".join(named) or _file_in_use(error)
    reason = error.strerror or str(error) or type(error).__name__
    way_out = WAYS_OUT.get(error.errno or 0, "check the file and the disk it is on")
    return f"{where + ': ' if where else ''}{reason}; {way_out}"


def _is_name(name: object) -> bool:
    return isinstance(name, str | bytes | os.PathLike) and bool(os.fspath(name))


def _file_in_use(error: OSError) -> str | None:
    """What was read or written when the system refused: its calls on open files name none."""
    for frame, _ in reversed(list(walk_tb(error.__traceback__))):
        values = list(frame.f_locals.values())
        for value in values:
            name = getattr(value, "name", None) if isinstance(value, io.IOBase) else None
            if isinstance(name, str):
                return name
        for value in values:
            if isinstance(value, PurePath):
                return str(value)
    return None


def explain_memory(error: BaseException) -> str | None:
    """One line if `error` says that there was not enough memory, else None."""
    if not isinstance(error, MemoryError | RuntimeError | ImportError):
        return None
    while isinstance(error, ImportError) and isinstance(error.__cause__, ImportError):
        error = error.__cause__  # NumPy wraps the reason in a page of advice on other causes
    text = " ".join(str(error).split())
    if type(error).__name__ == "OutOfMemoryError":  # of a GPU, in torch's words
        return f"{text}; use a smaller `size`, `batch_size` or `width`"
    if not isinstance(error, MemoryError) and not any(words in text for words in NO_MEMORY):
        return None
    return f"not enough memory ({text or 'refused by the system'}); {LESS_MEMORY}"


def explain_lack_of_device(error: Exception) -> str | None:
    """One line if torch lacks on a GPU of Apple's what was wanted of it, else None."""
    text = " ".join(str(error).split())
    if not isinstance(error, TypeError | NotImplementedError) or "MPS" not in text:
        return None
    return (
        f"`device` mps: torch cannot do this there ({text}); set PYTORCH_ENABLE_MPS_FALLBACK=1 to "
        "let the CPU do it where torch can, or use `device` cpu"
    )
