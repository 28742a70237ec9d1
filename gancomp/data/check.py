"""Decodes a dataset file by file and says everything that is wrong or odd about it."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gancomp.data.class_folders import (
    TEST_FOLDERS,
    TRAIN_FOLDERS,
    folders,
    image_folders,
    inner_folders,
)
from gancomp.data.deep import Stored, read_raw, stored_format
from gancomp.data.formats import count_suffixes, list_images, sort_folder
from gancomp.data.images import file_mode, load_image, num_frames
from gancomp.data.layout import FLAT, check_side_by_side, scan
from gancomp.data.transforms import PixelFormat
from gancomp.errors import DataError
from gancomp.launch import unheard

PLAIN_TASKS = ("super-resolution", "synthesis")  # they read 8-bit RGB alone
GRAY_MODES = ("1", "L", "LA", "I", "F")
TEST_BEGINNINGS = ("test", "val")
USUAL_CROP = 96  # of super-resolution
USUAL_SIDE, LONGEST_SIDE = 256, 4096  # of translation


@dataclass(frozen=True)
class FolderReport:
    """What one folder holds.

    Attributes:
        num_images: files that look like images by name.
        num_unreadable: of them, those that cannot be decoded.
        num_grayscale: of them, those without color, however they are stored.
        sizes: "WIDTHxHEIGHT" to number of files, the most frequent first.
        modes: how Pillow names the stored pixels ("RGB", "L", "CMYK") to number of files.
    """

    num_images: int
    num_unreadable: int
    num_grayscale: int
    sizes: dict[str, int]
    modes: dict[str, int]


@dataclass(frozen=True)
class Report:
    """What `check_folder` found.

    Attributes:
        root: the dataset's folder.
        task: "unpaired", "paired", "super-resolution", "synthesis", or None where the layout is not
            understood.
        folders: by name, those that hold images; "." is the dataset's folder itself. The class
            folders of a set for synthesis count as one.
        problems: what must or should be fixed, one line each; empty for a sound dataset.
        notes: what is odd but handled.
        classes: names to number of training images, in the order of their labels; empty where there
            are none.
    """

    root: Path
    task: str | None
    folders: dict[str, FolderReport]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    classes: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """All of it in types that `json.dumps` takes."""
        return asdict(self) | {"root": str(self.root)}


@dataclass(frozen=True)
class _Seen:
    """One decoded file, or why it could not be."""

    path: Path
    error: str | None = None
    mode: str = ""
    size: tuple[int, int] = (0, 0)
    gray: bool = False
    digest: bytes = b""
    dtype: str = "uint8"
    num_frames: int = 1


def check_folder(
    root: Path,
    task: str | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Reads every image of the dataset in `root` to its last byte and reports on it.

    Args:
        root: the dataset's folder.
        task: "unpaired" or "paired" where the folders leave a doubt; "super-resolution";
            "synthesis".
        progress: is told (files read, files in all).

    Raises:
        DataError: if `root` is no folder.
        ConfigError: if `task` is unknown.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    problems: list[str] = []
    found_task: str | None = None
    side_by_side = False
    classes: dict[str, int] = {}
    try:
        files = scan(root, task=task, say=unheard)  # the full decode below names the same files
    except DataError as error:
        problems.append(str(error))
    else:
        found_task, side_by_side = files.task, files.train.side_by_side is not None
        counts = Counter(files.train.labels)
        classes = {name: counts[label] for label, name in enumerate(files.classes)}
    listings = _with_class_folders(root) if task == "synthesis" else _folders_of_images(root)
    if task == "super-resolution" and (own := list_images(root)):
        listings = {".": own, **listings}
    by_folder = _read_all(listings, progress, deep=task not in PLAIN_TASKS)
    for seen in (one for many in by_folder.values() for one in many):
        problems.extend(_problems_of(seen, side_by_side, stated=task == "paired"))
    if found_task == "paired" and not side_by_side:
        problems.extend(_unequal_pairs(by_folder))
    reports = {name: _summary(many) for name, many in by_folder.items()}
    notes = _notes(by_folder, reports) + _shared_by_train_and_test(by_folder) + _ignored(listings)
    notes += _cut_short(by_folder, plain=task in PLAIN_TASKS)
    if found_task in ("unpaired", "paired"):
        notes += _never_square(by_folder, halves=side_by_side)
    if found_task == "super-resolution":
        notes += _too_small_to_train_on(by_folder)
    if classes:
        notes += [f"{path}: holds no images and is no class" for path in _empty_classes(root)]
    if len(classes) == 1:
        notes.append(f"{next(iter(classes))}/: is the only class")
    return Report(root, found_task, reports, problems, notes, classes)


def _folders_of_images(root: Path) -> dict[str, tuple[Path, ...]]:
    names = sorted(e.name for e in root.iterdir() if e.is_dir() and not e.name.startswith("."))
    listings = {name: list_images(root / name) for name in names}
    return {name: paths for name, paths in listings.items() if paths}


def _with_class_folders(root: Path) -> dict[str, tuple[Path, ...]]:
    """By split, the images of its class folders; "." if the dataset's folder holds the classes."""
    splits = [folder for folder in folders(root) if folder.name in (*TRAIN_FOLDERS, *TEST_FOLDERS)]
    listings = {}
    for name, split in [(item.name, item) for item in splits] or [(".", root)]:
        classes = [list_images(folder) for folder in image_folders(split)]
        listings[name] = (*list_images(split), *itertools.chain.from_iterable(classes))
    return {name: paths for name, paths in listings.items() if paths}


def _empty_classes(root: Path) -> list[Path]:
    splits = [folder for folder in folders(root) if folder.name in (*TRAIN_FOLDERS, *TEST_FOLDERS)]
    inside = itertools.chain.from_iterable(folders(split) for split in splits or [root])
    return [folder for folder in inside if not list_images(folder)]


def _read_all(
    listings: dict[str, tuple[Path, ...]],
    progress: Callable[[int, int], None] | None,
    *,
    deep: bool,
) -> dict[str, list[_Seen]]:
    total, done = sum(map(len, listings.values())), 0
    by_folder: dict[str, list[_Seen]] = {}
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:  # decoders release the GIL
        for name, paths in listings.items():
            by_folder[name] = []
            for seen in pool.map(partial(_read, deep=deep), paths):
                by_folder[name].append(seen)
                done += 1
                if progress is not None:
                    progress(done, total)
    return by_folder


def _read(path: Path, *, deep: bool) -> _Seen:
    try:
        if deep and not (stored := stored_format(path)).is_plain:
            return _read_deep(path, stored)
        mode, image = file_mode(path), load_image(path)
        dtype, frames = stored_format(path).dtype, num_frames(path)
    except DataError as error:
        return _Seen(path, error=str(error))
    pixels = np.asarray(image)
    digest = hashlib.blake2b(f"{image.size}".encode(), digest_size=16)
    digest.update(pixels.tobytes())
    gray = _is_gray(image, mode)
    return _Seen(path, None, mode, image.size, gray, digest.digest(), dtype, frames)


def _read_deep(path: Path, stored: Stored) -> _Seen:
    """An array, or a file of values without a range of their own: nothing but `--in-range` has."""
    raw = read_raw(path, PixelFormat(stored.channels, 0, 1, None))
    size = raw.shape[1], raw.shape[0]
    digest = hashlib.blake2b(f"{raw.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(raw).tobytes())
    mode = f"{stored.dtype}, {stored.channels} channel{'s' * (stored.channels > 1)}"
    gray = stored.channels == 1
    return _Seen(path, None, mode, size, gray, digest.digest(), stored.dtype)


def _is_gray(image: Image.Image, mode: str) -> bool:
    if mode.startswith(GRAY_MODES):
        return True
    red, green, blue = image.split()
    return red.tobytes() == green.tobytes() == blue.tobytes()


def _problems_of(seen: _Seen, side_by_side: bool, *, stated: bool) -> list[str]:
    if seen.error is not None:
        return [seen.error]
    if side_by_side:
        try:
            check_side_by_side(seen.path, stated=stated)
        except DataError as error:
            return [str(error)]
    return []


def _ignored(listings: dict[str, tuple[Path, ...]]) -> list[str]:
    notes: list[str] = []
    for name, paths in listings.items():
        holders = dict.fromkeys(path.parent for path in paths)
        others = [path for folder in holders for path in sort_folder(folder)[1]]
        if others:
            notes.append(
                f"{name}/: {len(others)} files are no images by their names and ignored: "
                f"{count_suffixes(others)}, e.g. {others[0].name}"
            )
        inner = (path for folder in holders for path in inner_folders(folder))
        for path in inner:
            if path not in holders:
                notes.append(f"{path}: its images ({len(list_images(path))}) are not read; {FLAT}")
    return notes


def _cut_short(by_folder: dict[str, list[_Seen]], *, plain: bool) -> list[str]:
    """Notes on files of which a part is read: the first of several pictures, or 8 of 16 bits."""
    notes: list[str] = []
    for name, many in by_folder.items():
        moving = [seen for seen in many if seen.num_frames > 1]
        if moving:
            notes.append(
                f"{name}/: {len(moving)} of {len(many)} hold several pictures, of which the first "
                f"one is read, e.g. {moving[0].path.name} ({moving[0].num_frames})"
            )
        for dtype in sorted({seen.dtype for seen in many} - {"uint8"}):
            deep = [seen for seen in many if seen.dtype == dtype]
            option = "`out_range`" if name.endswith("B") else "`in_range`"
            how = f"need {option}"
            if plain or dtype == "uint16":
                how = "are read as 8-bit RGB" + (f"; {option} 0,65535 keeps them" * (not plain))
            notes.append(
                f"{name}/: {len(deep)} of {len(many)} are {dtype} and {how}, e.g. "
                f"{deep[0].path.name}"
            )
    return notes


def _is_test(folder: str) -> bool:
    return folder.lower().startswith(TEST_BEGINNINGS)


def _shared_by_train_and_test(by_folder: dict[str, list[_Seen]]) -> list[str]:
    """A note, not a problem: published sets have such twins too (horse2zebra one)."""
    train = {
        seen.digest: f"{name}/{seen.path.name}"
        for name, many in by_folder.items()
        for seen in many
        if not _is_test(name) and seen.error is None
    }
    notes: list[str] = []
    for name, many in by_folder.items():
        twins = [seen for seen in many if seen.error is None and seen.digest in train]
        if _is_test(name) and twins:
            first = twins[0]
            notes.append(
                f"{name}/: {len(twins)} of {len(many)} pictures are in the training data too, "
                f"which flatters scores; e.g. {first.path.name} is {train[first.digest]}"
            )
    return notes


def _too_small_to_train_on(by_folder: dict[str, list[_Seen]]) -> list[str]:
    notes: list[str] = []
    for name, many in by_folder.items():
        small = [seen for seen in many if seen.error is None and min(seen.size) < USUAL_CROP]
        if small and not _is_test(name):
            notes.append(
                f"{name}/: {len(small)} of {len(many)} are smaller than the usual training crop of "
                f"{USUAL_CROP} pixels and would be skipped, e.g. {small[0].path.name} "
                f"({_size(small[0])}); `size` sets the crop"
            )
    return notes


def _never_square(by_folder: dict[str, list[_Seen]], *, halves: bool) -> list[str]:
    """A note where all images are of one proportion but not square, as training makes them."""
    widths_heights = (
        (seen.size[0] // (2 if halves else 1), seen.size[1])
        for many in by_folder.values()
        for seen in many
        if seen.error is None
    )
    proportions = {Fraction(width, height) for width, height in widths_heights}
    if len(proportions) != 1 or proportions & {0, 1}:
        return []
    (wide,) = proportions
    # all networks for translation but U-Nets take multiples of 4
    height, width = (
        round(USUAL_SIDE * max(Fraction(1), times) / 4) * 4 for times in (1 / wide, wide)
    )
    if max(height, width) > LONGEST_SIDE:
        return []
    return [
        f"all images are {wide.numerator}:{wide.denominator}, width to height, and become squares "
        f"in training; `size` {height}x{width} (height x width) keeps their shape"
    ]


def _unequal_pairs(by_folder: dict[str, list[_Seen]]) -> list[str]:
    problems: list[str] = []
    for name, many in by_folder.items():
        if not name.endswith("A"):
            continue
        partners = {seen.path.stem: seen for seen in by_folder.get(name[:-1] + "B", [])}
        for seen in many:
            partner = partners.get(seen.path.stem)
            if partner is None or seen.error is not None or partner.error is not None:
                continue
            if seen.size != partner.size:
                problems.append(
                    f"{seen.path}: {_size(seen)} pixels, its partner {partner.path.name} has "
                    f"{_size(partner)}"
                )
    return problems


def _summary(many: list[_Seen]) -> FolderReport:
    readable = [seen for seen in many if seen.error is None]
    return FolderReport(
        num_images=len(many),
        num_unreadable=len(many) - len(readable),
        num_grayscale=sum(seen.gray for seen in readable),
        sizes=dict(Counter(_size(seen) for seen in readable).most_common()),
        modes=dict(Counter(seen.mode for seen in readable).most_common()),
    )


def _size(seen: _Seen) -> str:
    return f"{seen.size[0]}x{seen.size[1]}"


def _notes(by_folder: dict[str, list[_Seen]], folders: dict[str, FolderReport]) -> list[str]:
    notes: list[str] = []
    for name, report in folders.items():
        num_readable = report.num_images - report.num_unreadable
        if 0 < report.num_grayscale < num_readable:
            notes.append(f"{name}/: {report.num_grayscale} of {num_readable} have no color")
        if len(report.sizes) > 1:
            common, count = next(iter(report.sizes.items()))
            notes.append(
                f"{name}/: {len(report.sizes)} different sizes, most often {common} ({count})"
            )
        digests = Counter(seen.digest for seen in by_folder[name] if seen.error is None)
        if twice := sum(count - 1 for count in digests.values()):
            notes.append(f"{name}/: {twice} pictures occur more than once")
    return notes
