"""What to tell somebody whose folder is none of the layouts: the nearest thing that would work."""

from __future__ import annotations

from pathlib import Path

from gancomp.data.class_folders import OTHER_SPLITS, TEST_FOLDERS, TRAIN_FOLDERS, folders
from gancomp.data.formats import list_images

DEMO = "To try without data: gancomp demo"
PACKED = (
    *(".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".lmdb", ".mdb"),
    *(".tfrecord", ".tfrecords", ".h5", ".hdf5", ".parquet", ".arrow", ".npz", ".mat"),
)


def hint(root: Path) -> str:
    """One sentence for a folder in which no layout was found."""
    for look in (_uncombined, _datasets_inside, _classes, _packed):
        if found := look(root):
            return found
    return DEMO


def _uncombined(root: Path) -> str | None:
    """The input of pix2pix's combine_A_and_B.py: A/train, B/train and so on."""
    if not ((root / "A" / "train").is_dir() and (root / "B" / "train").is_dir()):
        return None
    return (
        "A/ and B/ with train/ in each are the input of pix2pix's combine_A_and_B: rename A/train "
        "to trainA, B/train to trainB (A/test to testA, B/test to testB) in that folder"
    )


def _datasets_inside(root: Path) -> str | None:
    for folder in folders(root):
        if (folder / "trainA").is_dir() or (folder / "train").is_dir():
            return f"Did you mean {folder}?"
    return None


def _classes(root: Path) -> str | None:
    splits = (*TRAIN_FOLDERS, *TEST_FOLDERS, *OTHER_SPLITS)
    inside = [path for path in folders(root) if path.name not in splits and list_images(path)]
    if len(inside) < 2:
        return None
    names = ", ".join(f"{path.name}/" for path in inside[:3])
    return f"If {names} are classes of images to be generated from noise: `task` synthesis"


def _packed(root: Path) -> str | None:
    for path in sorted(root.iterdir()):
        inside = path / "data.mdb"  # LMDB keeps its pictures in such a file of a folder
        packed = inside if inside.is_file() else path
        if packed.name.lower().endswith(PACKED):
            return f"{packed.name} is not read as it is: unpack the images in {packed} first"
    return None
