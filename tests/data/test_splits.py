"""The fingerprint of a dataset's files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from gancomp.data.layout import scan


def refuse_warning(message: str) -> None:
    raise AssertionError(f"unexpected warning: {message}")


def names(paths: tuple[Path, ...]) -> list[str]:
    return [f"{path.parent.name}/{path.name}" for path in paths]


def test_fingerprints_stay_what_they_were_before_there_were_classes(
    tmp_path: Path,
) -> None:
    for folder in ("trainA", "trainB", "testA", "testB"):
        (tmp_path / folder).mkdir()
        for index in range(2):
            Image.new("RGB", (8, 8)).save(tmp_path / folder / f"{folder}{index}.bmp")
    found = scan(tmp_path, say=refuse_warning).fingerprint()["sha256"]
    assert found == "65a470906dc9bf5ca9290520eb6f2881a0ab210a566d7d399db4978840df3807"


def test_fingerprint_follows_names_sizes_and_direction_but_not_the_place(
    unpaired_root: Path, tmp_path: Path
) -> None:
    first = scan(unpaired_root).fingerprint()
    copy = tmp_path / "copy" / "toy"
    shutil.copytree(unpaired_root, copy)
    assert scan(copy).fingerprint() == first
    assert first["counts"] == {
        "train_source": 5,
        "train_target": 3,
        "test_source": 3,
        "test_target": 2,
    }
    swapped = scan(copy, direction="BtoA").fingerprint()
    (copy / "testB" / "b1.png").rename(copy / "testB" / "b9.png")
    renamed = scan(copy).fingerprint()
    assert len({f["sha256"] for f in (first, swapped, renamed)}) == 3


@pytest.mark.skipif(os.name != "posix", reason="needs a file system with byte names")
def test_fingerprint_takes_file_names_that_are_not_utf8(unpaired_root: Path) -> None:
    old = unpaired_root / "trainA" / "a0.png"
    old.rename(os.fsdecode(bytes(unpaired_root / "trainA") + b"/caf\xe9.png"))
    assert scan(unpaired_root, say=refuse_warning).fingerprint()["counts"]["train_source"] == 5
