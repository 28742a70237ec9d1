"""TIFF files of many channels and depths, as tifffile writes and reads them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from gancomp.data.tiff import read_tiff, tiff_bytes, tiff_layout
from gancomp.errors import DataError

TURNS = tuple(  # of the orientations 2 to 8
    Image.Transpose[name]
    for name in (
        "FLIP_LEFT_RIGHT",
        "ROTATE_180",
        "FLIP_TOP_BOTTOM",
        "TRANSPOSE",
        "ROTATE_270",
        "TRANSVERSE",
        "ROTATE_90",
    )
)
DTYPES = ("u1", "u2", "i2", "i4", "f4", "f8")


def numbers(channels: int, dtype: str, size: tuple[int, int] = (11, 7)) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(channels)
    return (rng.uniform(0, 120, (*size, channels))).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("order", "<>")
def test_what_another_program_wrote_is_read_number_by_number(
    dtype: str, channels: int, planar: str, order: str, tmp_path: Path
) -> None:
    if channels == 1 and planar == "separate":
        return
    picture, path = numbers(channels, dtype), tmp_path / "x.tif"
    stored = picture if planar == "contig" else picture.transpose(2, 0, 1)
    tifffile.imwrite(
        path,
        stored[..., 0] if channels == 1 else stored,
        planarconfig=planar if channels > 1 else None,
        photometric="minisblack",
        byteorder=order,
        rowsperstrip=4,
    )
    found = read_tiff(path)
    if dtype == "u1" and channels in (1, 3):
        assert found is None  # Pillow's
        return
    assert found is not None
    assert found.dtype == dtype
    assert np.array_equal(found, picture)


@pytest.mark.parametrize("predictor", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i4"])
def test_deflate_with_and_without_differences(predictor: bool, dtype: str, tmp_path: Path) -> None:
    picture, path = numbers(5, dtype), tmp_path / "x.tif"
    tifffile.imwrite(
        path,
        picture,
        photometric="minisblack",
        planarconfig="contig",
        compression="zlib",
        predictor=predictor,
        rowsperstrip=3,
    )
    assert np.array_equal(read_tiff(path), picture)  # type: ignore[arg-type]  # None fails too


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_picture_is_turned_as_pillow_turns_it(orientation: int, tmp_path: Path) -> None:
    picture, path = numbers(1, "u2"), tmp_path / "x.tif"
    tag = (274, "H", 1, orientation, True)
    tifffile.imwrite(path, picture[..., 0], photometric="minisblack", extratags=[tag])
    image = Image.fromarray(picture[..., 0])  # Pillow itself misreads such files from 5 on
    turned = image if orientation == 1 else image.transpose(TURNS[orientation - 2])
    wanted = np.asarray(turned)
    assert np.array_equal(read_tiff(path)[..., 0], wanted)  # type: ignore[index]  # as above


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", range(1, 9))
def test_what_is_written_is_read_by_another_program_and_by_us(
    channels: int, dtype: str, tmp_path: Path
) -> None:
    picture, path = numbers(channels, dtype), tmp_path / "x.tif"
    path.write_bytes(tiff_bytes(picture))
    read = tifffile.imread(path)
    assert (read.dtype, read.shape) == (picture.dtype, picture.squeeze().shape)
    assert np.array_equal(read, picture.squeeze())
    found = read_tiff(path)
    if found is None:
        with Image.open(path) as image:
            found = np.atleast_3d(np.asarray(image))
    assert np.array_equal(found, picture)


def test_what_is_not_read_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    contig: Any = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(path, numbers(5, "u2", (32, 32)), tile=(16, 16), **contig)
    with pytest.raises(DataError, match=r"5 channels in tiles.*\.npy"):
        tiff_layout(path)
    tifffile.imwrite(path, numbers(9, "u2"), **contig)
    with pytest.raises(DataError, match="9 channels"):
        tiff_layout(path)
    tifffile.imwrite(path, numbers(2, "u2").astype("u8"), **contig)
    with pytest.raises(DataError, match="64-bit"):
        tiff_layout(path)


def test_a_damaged_file_is_refused_at_every_length(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    whole = io.BytesIO()
    tifffile.imwrite(
        whole,
        numbers(5, "u2"),
        photometric="minisblack",
        planarconfig="contig",
        compression="zlib",
    )
    content, read = whole.getvalue(), 0
    for length in range(4, len(content), 7):
        path.write_bytes(content[:length])
        try:
            found = read_tiff(path)
        except DataError:
            continue
        read += found is not None
    assert read < 3  # behind the pixels there are but descriptions
    rng = np.random.default_rng(0)
    for _ in range(300):
        mutant = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            mutant[place] = rng.integers(0, 256)
        path.write_bytes(mutant)
        try:
            read_tiff(path)
        except DataError:
            continue
