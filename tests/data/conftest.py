"""Small image files for the readers' tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gancomp.seeding import derive_seed

MakeImage = Callable[..., Path]


@pytest.fixture
def make_image() -> MakeImage:
    """Writes random RGB pixels that depend on the file's name alone, and returns the path."""

    def make(path: Path, *, size: tuple[int, int] = (24, 24)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(derive_seed(0, path.parent.name, path.name))
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return make


@pytest.fixture
def unpaired_root(tmp_path: Path, make_image: MakeImage) -> Path:
    """5 + 3 training and 3 + 2 test images of unrelated names."""
    for folder, prefix, count in (
        ("trainA", "a", 5),
        ("trainB", "b", 3),
        ("testA", "a", 3),
        ("testB", "b", 2),
    ):
        for index in range(count):
            make_image(tmp_path / "toy" / folder / f"{prefix}{index}.png")
    return tmp_path / "toy"


@pytest.fixture
def side_by_side_root(tmp_path: Path, make_image: MakeImage) -> Path:
    """5 training and 3 validation pairs."""
    for folder, count in (("train", 5), ("val", 3)):
        for index in range(count):
            make_image(tmp_path / "pairs" / folder / f"{index}.png", size=(48, 24))
    return tmp_path / "pairs"
