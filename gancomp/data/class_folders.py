"""Folders of images by class, as synthesis has them, and what folders of images are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from gancomp.data.formats import count_suffixes, list_images, sort_folder
from gancomp.data.splits import Split
from gancomp.errors import DataError

TRAIN_FOLDERS = ("train", "DIV2K_train_HR")
TEST_FOLDERS = ("test", "valid", "val", "DIV2K_valid_HR")
BY_OTHERS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"})
OTHER_SPLITS = ("trainA", "trainB", "testA", "testB", "valA", "valB")


def folders(folder: Path) -> list[Path]:
    """The folders directly inside `folder`, sorted by name, without hidden ones and `BY_OTHERS`."""
    inside = (
        path
        for path in folder.iterdir()
        if path.is_dir() and path.name[0] != "." and path.name not in BY_OTHERS
    )
    return sorted(inside, key=lambda path: path.name)


def image_folders(folder: Path) -> list[Path]:
    """Those of them that hold images."""
    return [path for path in folders(folder) if list_images(path)]


def inner_folders(folder: Path) -> list[Path]:
    """Folders of images beside images, where nothing reads them; without a dataset's splits."""
    splits = (*TRAIN_FOLDERS, *TEST_FOLDERS)
    return [path for path in image_folders(folder) if path.name not in splits]


def labeled(
    folder: Path,
    readable: Callable[[Sequence[Path]], list[Path]],
    known: tuple[str, ...] | None = None,
) -> tuple[Split, tuple[str, ...]]:
    """The images of the class folders in `folder`, labeled by the order of the folders' names.

    Args:
        folder: holds folders with images.
        readable: picks the files that are images out of those of one class.
        known: for images beside the training images: the classes of these, whose labels hold;
            if there are none, neither are there labels.

    Returns: the images, and the names of the classes.

    Raises:
        DataError: if there are images without a class, or a class that is not known.
    """
    filled, loose = image_folders(folder), list_images(folder)
    if loose:
        raise DataError(
            f"`dataset` {folder}: holds {len(loose)} images beside class folders "
            f"({filled[0].name}/, ...); put each image into a class, or all into one folder"
        )
    classes = known if known is not None else tuple(inside.name for inside in filled)
    strange = [inside.name for inside in filled if classes and inside.name not in classes]
    if strange:
        raise DataError(
            f"`dataset` {folder}: the class {strange[0]}/ is none of the {len(classes)} of the "
            "training images; remove it"
        )
    paths: list[Path] = []
    labels: list[int] = []
    for inside in filled:
        found = readable(list_images(inside))
        paths += found
        labels += [classes.index(inside.name)] * len(found) if classes else []
    files = tuple(paths)
    return Split(files, files, labels=tuple(labels) if classes else None), classes


def refuse_splits_as_classes(root: Path) -> None:
    """Raises DataError if folders in `root` have the names of splits: they are no classes."""
    inside = [root / name for name in (*OTHER_SPLITS, *TEST_FOLDERS) if (root / name).is_dir()]
    if inside:
        raise DataError(
            f"`dataset` {root}: {what_is_there(root)}; for `task` synthesis give a folder of "
            f"images or of class folders, such as {inside[0]}, or one with train/ of them"
        )


def refuse_strangers(root: Path, train: str) -> None:
    """Raises DataError if beside `train` there are image folders that are no splits.

    `train` may be meant for a class, as in a folder of vehicles.
    """
    splits = (*TRAIN_FOLDERS, *TEST_FOLDERS, *OTHER_SPLITS)
    strangers = [path.name for path in image_folders(root) if path.name not in splits]
    if strangers:
        raise DataError(
            f"`dataset` {root}: holds {train}/ and {strangers[0]}/; if they are classes, move all "
            f"into a new folder train/ of {root}, else give `dataset` {root / train}"
        )


def what_is_there(folder: Path) -> str:
    """What `folder` holds, in words: `found 3 images, 2 other files (2 .zip), a/, b/`."""
    images, others = sort_folder(folder)
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    found = [f"{len(images)} images"] if images else []
    found += [f"{len(others)} other files ({count_suffixes(others)})"] if others else []
    found += [f"{name}/" for name in names[:6]] + (["..."] if len(names) > 6 else [])
    return f"found {', '.join(found)}" if found else "found neither images nor folders"
