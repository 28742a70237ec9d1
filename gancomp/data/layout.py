"""Understands a dataset's folders: which files are source, target, training and test images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import get_args

from gancomp.data.class_folders import (
    TEST_FOLDERS,
    TRAIN_FOLDERS,
    folders,
    image_folders,
    inner_folders,
    labeled,
    refuse_splits_as_classes,
    refuse_strangers,
    what_is_there,
)
from gancomp.data.deep import is_sideways, picture_size
from gancomp.data.formats import count_suffixes, list_images, sort_folder
from gancomp.data.hints import hint
from gancomp.data.images import Say, image_size, say_on_stderr, warn_on_stderr
from gancomp.data.registered import find_known, known_names
from gancomp.data.splits import DatasetFiles, Split, Task
from gancomp.errors import ConfigError, DataError
from gancomp.paths import cache_folder, download_folder, expanded

DIRECTIONS = ("AtoB", "BtoA")
BENCHMARKS = ("Set5", "Set14", "BSD100", "Urban100")  # for super-resolution; kept below sr/
WITHOUT_DIRECTION = {
    "super-resolution": "from small to large",
    "synthesis": "from noise to images",
}
FEW = 8  # pairs whose sizes are compared where nobody said that they are pairs
FLAT = "move them into the folder above, of which nothing deeper is looked at"
NUM_NAMED = 10  # a longer list of files is cut: `gancomp data check` prints it whole
LAYOUTS = (
    "unpaired data needs trainA/, trainB/ (and testA/, testB/); paired data train/ (and val/ or "
    "test/) of images side by side, or trainA/, trainB/ with equal names; for a plain folder of "
    "images there are `task` super-resolution and `task` synthesis"
)


def locate(name_or_path: str, say: Say = say_on_stderr) -> Path:
    """The folder of a dataset given by path or name, downloaded if it is a known one.

    An existing folder; else `$GANCOMP_DATA/X`; else X in the user's cache; else, for a known
    name, a verified download into that cache. The usual benchmarks of super-resolution are found
    in `sr/X` too.

    Args:
        name_or_path: what `--dataset` was given.
        say: is told that a download begins, and how far it is.

    Raises:
        DataError: if there is no such dataset, or the download fails.
    """
    if not name_or_path.strip():
        raise DataError(f"`dataset` is empty: give a folder or one of {known_names()}")
    path = expanded(name_or_path)
    if path.is_dir():
        return path
    if path.exists():
        raise DataError(
            f"`dataset` {name_or_path}: is a file; give the folder of the dataset: {LAYOUTS}"
        )
    known = find_known(name_or_path)
    names = (name_or_path,) if known is None else (name_or_path, known.name, *known.aliases)
    if name_or_path in BENCHMARKS:
        names = (name_or_path, f"sr/{name_or_path}")
    own = os.environ.get("GANCOMP_DATA")
    cache = cache_folder()
    roots = ([expanded(own)] if own else []) + ([cache / "data"] if cache else [])
    for root in roots:
        for name in names:
            if (root / name).is_dir():
                return root / name
    if known is not None:
        from gancomp.data.download import fetch_announced  # urllib's client only when needed

        return fetch_announced(known, download_folder() / known.name, say)
    searched = f"neither a folder nor in $GANCOMP_DATA ({own})" if own else "no such folder"
    raise DataError(
        f"`dataset` {name_or_path}: {searched}. Known names: {known_names()}; below "
        f"$GANCOMP_DATA/sr: {', '.join(BENCHMARKS)}. To try without data: gancomp demo"
    )


def scan(
    root: Path,
    *,
    task: str | None = None,
    direction: str = "AtoB",
    strict: bool = False,
    say: Say = warn_on_stderr,
) -> DatasetFiles:
    """The files of the dataset in `root` by role; only headers are read.

    `trainA/ trainB/` with equal names, and `train/` of images side by side, are paired; other
    `trainA/ trainB/` are unpaired. The test split comes from `test…`, else from `val…`, and holds
    every readable file. A folder of images, or `train/` (and `test/`, `valid/` or `val/`) of them,
    is for super-resolution or synthesis if `task` says so. For synthesis each of these may hold
    a folder of images per class instead: their names, sorted, are the labels 0, 1 and so on.

    Args:
        root: the dataset's folder.
        task: "unpaired" or "paired" where the folders leave a doubt; "super-resolution";
            "synthesis".
        direction: "BtoA" swaps source and target.
        strict: raise at a file that is no image instead of skipping it.
        say: is told the names of skipped files, once per folder.

    Raises:
        DataError: if folders are missing, empty or one-sided, pairs are incomplete, the layout
            does not fit the task, or no file is readable.
        ConfigError: if `task` or `direction` is unknown.
    """
    if direction not in DIRECTIONS:
        raise ConfigError(f"`direction` {direction}: use AtoB or BtoA")
    if task is not None and task not in get_args(Task):
        raise ConfigError(
            f"`task` {task}: datasets of folders are unpaired or paired, or for super-resolution "
            "or synthesis"
        )
    if not root.is_dir():
        raise DataError(f"`dataset` {root}: no such folder")
    scanner = _Scanner(root, swap=direction == "BtoA", strict=strict, say=say)
    if task in WITHOUT_DIRECTION:
        if scanner.swap:
            raise ConfigError(
                f"`direction` {direction}: has no effect with `task` {task}, which goes "
                f"{WITHOUT_DIRECTION[task]}; remove it"
            )
        return scanner.synthesis() if task == "synthesis" else scanner.whole_images()
    two_folders = scanner.has("trainA") or scanner.has("trainB")
    if two_folders and scanner.has("train") and task is None:
        raise DataError(
            f"`dataset` {root}: holds both trainA/, trainB/ and train/; `task` unpaired takes the "
            "first, `task` paired the second"
        )
    if scanner.has("train") and not (two_folders and task == "unpaired"):
        return scanner.side_by_side(task)
    if two_folders:
        return scanner.two_folders(task)
    raise DataError(f"`dataset` {root}: {what_is_there(root)}; {LAYOUTS}. {hint(root)}")


@dataclass
class _Scanner:
    """One scan: where it looks, what it does about unreadable files, and those it met."""

    root: Path
    swap: bool
    strict: bool
    say: Say
    skipped: list[Path] = field(default_factory=list)
    ignored: dict[Path, None] = field(default_factory=dict)  # in order, each once
    inner: dict[Path, None] = field(default_factory=dict)  # folders beside images, the same way

    def has(self, name: str) -> bool:
        return (self.root / name).is_dir()

    def two_folders(self, task: str | None) -> DatasetFiles:
        train_a, train_b = self._listing("trainA"), self._listing("trainB")
        paired = task == "paired"
        if task is None and self._names_are_equal(train_a, train_b):
            paired = True
            self.say(
                f"{self.root}: the files of trainA/ and trainB/ have equal names, so they are "
                f"taken as pairs{_of_other_sizes(train_a, train_b)}; if they are none: "
                "`task` unpaired (`task` paired says that they are)"
            )
        read = self._pairs if paired else self._piles
        train = read(train_a, train_b)
        test = None
        for a, b in (("testA", "testB"), ("valA", "valB")):
            if self.has(a) or self.has(b):
                test = read(self._listing(a), self._listing(b))
                break
        return self._dataset("paired" if paired else "unpaired", train, test)

    def side_by_side(self, task: str | None) -> DatasetFiles:
        if task == "unpaired":
            raise DataError(
                f"`dataset` {self.root}: has train/ but no trainA/, trainB/, which `task` unpaired "
                "needs; remove `task` if train/ holds images side by side"
            )
        stated = task == "paired"
        train = self._halves("train", stated)
        test = next((name for name in ("test", "val") if self.has(name)), None)
        return self._dataset("paired", train, self._halves(test, stated) if test else None)

    def whole_images(self) -> DatasetFiles:
        task: Task = "super-resolution"
        name = next((name for name in TRAIN_FOLDERS if self.has(name)), None)
        if name is None:
            return self._dataset(task, self._files(self.root), None)
        test = next((name for name in TEST_FOLDERS if self.has(name)), None)
        return self._dataset(
            task, self._files(self.root / name), self._files(self.root / test) if test else None
        )

    def synthesis(self) -> DatasetFiles:
        name = next((name for name in TRAIN_FOLDERS if self.has(name)), None)
        if name is None:
            refuse_splits_as_classes(self.root)
            train, classes = self._labeled(self.root)
            return self._dataset("synthesis", train, None, classes)
        refuse_strangers(self.root, name)
        train, classes = self._labeled(self.root / name)
        test = next((name for name in TEST_FOLDERS if self.has(name)), None)
        held_back = self._labeled(self.root / test, classes)[0] if test else None
        return self._dataset("synthesis", train, held_back, classes)

    def _labeled(
        self, folder: Path, known: tuple[str, ...] | None = None
    ) -> tuple[Split, tuple[str, ...]]:
        """The images of `folder` with their labels, and the names of the classes, if any."""
        if not image_folders(folder):
            return self._files(folder), ()
        for inside in image_folders(folder):
            self._images(inside)
        for empty in folders(folder):
            if not list_images(empty):
                self.say(f"{empty}: holds no images and is skipped; it is no class")
        return labeled(folder, lambda paths: self._readable(paths, image_size), known)

    def _images(self, folder: Path) -> tuple[Path, ...]:
        """The images in `folder`; files of other kinds are remembered, to be named in the end."""
        images, others = sort_folder(folder)
        self.ignored |= dict.fromkeys(others)
        if images:
            self.inner |= dict.fromkeys(inner_folders(folder))
        return images

    def _files(self, folder: Path) -> Split:
        paths = self._images(folder)
        if not paths:
            inside = sorted(image_folders(folder), key=_train_first)
            hint = f"did you mean {inside[0]}? " if inside else ""
            raise DataError(
                f"`dataset` {folder}: has no images; {what_is_there(folder)}; {hint}Give a folder "
                "of images, or one with train/ (and test/ or valid/) of them. To try without "
                "data: gancomp demo"
            )
        files = tuple(self._readable(paths, image_size))
        return Split(files, files)

    def _dataset(
        self, task: Task, train: Split, test: Split | None, classes: tuple[str, ...] = ()
    ) -> DatasetFiles:
        if self.ignored:
            first = next(iter(self.ignored))
            self.say(
                f"{self.root}: ignored {len(self.ignored)} files that are no images by their "
                f"names: {count_suffixes(self.ignored)}; the first is {first}"
            )
        for folder in self.inner:
            self.say(f"{folder}: its images ({len(list_images(folder))}) are not read; {FLAT}")
        name = self.root.resolve().name
        return DatasetFiles(name, self.root, task, train, test, tuple(self.skipped), classes)

    def _listing(self, name: str) -> tuple[Path, ...]:
        folder = self.root / name
        if not folder.is_dir():
            other = name[:-1] + ("B" if name.endswith("A") else "A")
            raise DataError(
                f"`dataset` {self.root}: found {other}/ ({len(list_images(self.root / other))} "
                f"images) but no {name}/; {LAYOUTS}. To try without data: gancomp demo"
            )
        paths = self._images(folder)
        if not paths:
            raise DataError(
                f"`dataset` {self.root}: {name}/ has no images; {what_is_there(folder)}"
            )
        return paths

    def _names_are_equal(self, a: Sequence[Path], b: Sequence[Path]) -> bool:
        stems_a, stems_b = {path.stem for path in a}, {path.stem for path in b}
        if stems_a == stems_b:
            return True
        num_shared = len(stems_a & stems_b)
        if 2 * num_shared < min(len(stems_a), len(stems_b)):
            return False
        raise DataError(
            f"`dataset` {self.root}: trainA/ ({len(a)} images) and trainB/ ({len(b)}) share "
            f"{num_shared} names but not all, e.g. {_some(stems_a ^ stems_b)}; complete the pairs, "
            "or use `task` unpaired"
        )

    def _piles(self, a: Sequence[Path], b: Sequence[Path]) -> Split:
        sources = tuple(self._readable(a, picture_size))
        targets = tuple(self._readable(b, picture_size))
        return Split(targets, sources) if self.swap else Split(sources, targets)

    def _pairs(self, a: Sequence[Path], b: Sequence[Path]) -> Split:
        by_stem_a, by_stem_b = self._by_stem(a), self._by_stem(b)
        lonely = by_stem_a.keys() ^ by_stem_b.keys()
        if lonely:
            raise DataError(
                f"`dataset` {self.root}: {a[0].parent.name}/ ({len(a)} images) and "
                f"{b[0].parent.name}/ ({len(b)}) are no pairs: {len(lonely)} names are in one of "
                f"them only, e.g. {_some(lonely)}; complete them, or use `task` unpaired"
            )

        def check(path: Path) -> None:
            picture_size(path)
            picture_size(by_stem_b[path.stem])

        sources = tuple(self._readable(a, check))
        targets = tuple(by_stem_b[path.stem] for path in sources)
        return Split(targets, sources) if self.swap else Split(sources, targets)

    def _by_stem(self, paths: Sequence[Path]) -> dict[str, Path]:
        twice = {stem for stem, n in Counter(path.stem for path in paths).items() if n > 1}
        if twice:
            raise DataError(
                f"`dataset` {self.root}: {paths[0].parent.name}/ has several files of one name, "
                f"e.g. {_some(twice)}; pairs need one each"
            )
        return {path.stem: path for path in paths}

    def _halves(self, name: str, stated: bool) -> Split:
        check = partial(check_side_by_side, stated=stated)
        paths = tuple(self._readable(self._listing(name), check))
        return Split(paths, paths, side_by_side="right" if self.swap else "left")

    def _readable(self, paths: Sequence[Path], check: Callable[[Path], object]) -> list[Path]:
        """The files that pass `check`; the others are named in one warning."""
        readable: list[Path] = []
        reasons: list[str] = []
        for path in paths:
            try:
                check(path)
            except DataError as error:
                if self.strict:
                    raise
                self.skipped.append(path)
                reasons.append(str(error))
            else:
                readable.append(path)
        folder = paths[0].parent
        if not readable:
            raise DataError(
                f"{folder}: none of {len(paths)} files is usable; the first: {reasons[0]}"
            )
        if reasons:
            more = len(reasons) - NUM_NAMED
            tail = f"; and {more} more (gancomp data check names all)" if more > 0 else ""
            self.say(
                f"{folder}: skipped {len(reasons)} of {len(paths)} files: "
                f"{'; '.join(reasons[:NUM_NAMED])}{tail}"
            )
        return readable


def check_side_by_side(path: Path, *, stated: bool = False) -> None:
    """Looks at the header of a file that should hold two images side by side.

    Args:
        path: the file.
        stated: whether somebody said so; otherwise what is not wider than high is no pair.

    Raises:
        DataError: if it is no image, of odd width, or, unless `stated`, not wider than high.
    """
    width, height = picture_size(path)
    # looked at only where it matters: a PNG is decoded for it
    if (width <= height or width % 2 or height % 2) and is_sideways(path):
        width, height = height, width
    if width % 2:
        raise DataError(
            f"{path}: {width} x {height} pixels; two images side by side are of even width"
        )
    if width <= height and not stated:
        raise DataError(
            f"{path}: {width} x {height} pixels; not wider than high, so it is taken for two "
            "images side by side only with `task` paired"
        )


def _of_other_sizes(a: Sequence[Path], b: Sequence[Path]) -> str:
    """What the first pairs' sizes have against it; their names are equal, hence their order."""
    partners = {path.stem: path for path in b}
    for one in a[:FEW]:
        other = partners[one.stem]
        try:
            sizes = picture_size(one), picture_size(other)
        except DataError:
            continue
        if sizes[0] != sizes[1]:
            (w, h), (v, g) = sizes
            return f", although {one.name} has {w}x{h} pixels and {other.name} {v}x{g}"
    return ""


def _train_first(path: Path) -> tuple[bool, str]:
    return not path.name.lower().startswith("train"), path.name


def _some(names: set[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(shown) + (", ..." if len(names) > len(shown) else "")
