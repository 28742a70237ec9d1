"""What a path that was typed means: home folders, and where things are kept between commands."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from gancomp.errors import ConfigError, DataError, WeightsError


def expanded(path: str | os.PathLike[str]) -> Path:
    """`path` with a leading `~` or `~user` replaced by that home folder.

    A name that is no user's stays as it is: a folder may be called `~old`.

    Raises:
        ConfigError: if it begins with `~/` and this user has no home folder.
    """
    text = os.fspath(path)
    if text != "~" and not text.startswith(("~/", f"~{os.sep}")):
        return Path(os.path.expanduser(text))
    home = home_folder()
    if home is None:
        raise ConfigError(
            f"{text}: there is no home folder (HOME is not set, and the system knows none for this "
            "user); give the whole path"
        )
    return home / text[2:]


def home_folder() -> Path | None:
    """This user's home folder; None if neither HOME nor the system names one."""
    if os.environ.get("HOME") == "":
        return None  # the root folder, says Python
    home = os.path.expanduser("~")
    return None if home.startswith("~") else Path(home)


def cache_folder() -> Path | None:
    """The folder of gancomp below `$XDG_CACHE_HOME`, by default `~/.cache`; None without a home."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return expanded(base or "~/.cache") / "gancomp"
    except ConfigError:
        return None


def download_folder() -> Path:
    """Where datasets are kept; each in it is whole: they get their names once they are verified.

    Raises:
        DataError: if there is no home folder.
    """
    cache = cache_folder()
    if cache is None:
        raise DataError(
            "there is no home folder to keep a download in: set XDG_CACHE_HOME to a folder, or put "
            "the dataset below a folder of yours and set GANCOMP_DATA to that"
        )
    return cache / "data"


def weights_folder() -> Path:
    """Where torch keeps weights that it downloaded.

    Raises:
        WeightsError: if there is no home folder, for which torch takes the folder `~` right here.
    """
    import torch

    folder = torch.hub.get_dir()
    set_elsewhere = os.environ.get("TORCH_HOME") or os.environ.get("XDG_CACHE_HOME")
    if folder.startswith("~") or not (set_elsewhere or home_folder()):
        raise WeightsError(
            "there is no home folder to look for weights in, or to keep them in: set TORCH_HOME to "
            "a folder"
        )
    return Path(folder) / "checkpoints"


@contextlib.contextmanager
def utf8_name(path: Path) -> Iterator[str]:
    """A name of the file for libraries that take no other than UTF-8: its own, where it is.

    Raises:
        OSError: if it has to be opened and cannot.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with path.open("rb") as file:
            yield f"/dev/fd/{file.fileno()}"
    else:
        yield str(path)
