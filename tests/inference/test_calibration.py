"""The pictures that a generator is quantized by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import write_model
from PIL import Image

from gancomp.errors import DataError
from gancomp.export.model import LoadedModel, open_model
from gancomp.inference.calibration import calibration_pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    for name in "ab":
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return tmp_path


def model(folder: Path, arch: str) -> LoadedModel:
    settings = {"blocks": 1, "scale": 2} if arch == "srresnet" else {}
    file = write_model(folder / "m.safetensors", arch, 2, settings=settings, input_size=(16, 16))
    return open_model(file)


@pytest.mark.parametrize(("arch", "own"), [("mobile-resnet6", (16, 16)), ("srresnet", (15, 20))])
def test_pictures_have_the_size_that_the_file_is_for(
    arch: str, own: tuple[int, int], folder: Path
) -> None:
    opened = model(folder, arch)
    for size, wanted in ((None, own), ((8, 12), (8, 12))):
        found = calibration_pictures(opened, folder=folder, size=size, say=print)
        assert [tuple(image.shape) for image in found.images] == [(1, 3, *wanted)] * 2


def test_pictures_that_are_too_small_to_be_enlarged_from_are_left_out(folder: Path) -> None:
    said: list[str] = []
    with pytest.raises(DataError, match="`calibrate` .* holds no readable images"):
        calibration_pictures(model(folder, "srresnet"), folder=folder, size=32, say=said.append)
    assert len(said) == 2
    assert "made small it has 15x20, less than `size` 32" in said[0]


def test_a_folder_that_is_not_there_is_named_with_its_option(folder: Path) -> None:
    with pytest.raises(DataError, match="`calibrate` nowhere: cannot be listed .*; give a folder"):
        calibration_pictures(model(folder, "srresnet"), folder=Path("nowhere"), say=print)
