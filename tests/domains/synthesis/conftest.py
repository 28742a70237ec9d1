"""Small photographs, alone and in classes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gancomp.data.demo_set import write_demo_set


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthesis") / "photos"
    write_demo_set(root, size=32, train=6, test=1)
    return root / "trainA"


@pytest.fixture(scope="module")
def classes(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("classes") / "classes"
    for name in ("trainA", "trainB"):
        shutil.copytree(photos.parent / name, root / name[-1])
    return root
