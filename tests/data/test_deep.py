"""Images of any depth and number of channels are read whole, or refused in one line."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from gancomp.data.deep import Stored, picture_size, read_raw, read_values, stored_format
from gancomp.data.formats import list_images
from gancomp.data.images import load_image
from gancomp.data.transforms import FULL_RANGES, PixelFormat
from gancomp.data.writing import deep_color_png
from gancomp.errors import DataError

SIZE = (6, 8)


def numbers(dtype: str, channels: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(channels)
    if dtype == "float32":
        return rng.random((*SIZE, channels), dtype=np.float32)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, (*SIZE, channels), dtype=dtype, endpoint=True)


def write(path: Path, raw: np.ndarray[Any, Any], **options: Any) -> Path:
    flat = raw[..., 0] if raw.shape[2] == 1 else raw
    if path.suffix == ".npy":
        np.save(path, flat)
    elif path.suffix == ".png" and raw.dtype == np.uint16 and raw.shape[2] == 3:
        path.write_bytes(deep_color_png(raw))
    elif raw.shape[2] in (1, 3) and not (raw.dtype == np.uint16 and raw.shape[2] == 3):
        Image.fromarray(np.ascontiguousarray(flat)).save(path, **options)
    else:
        tifffile.imwrite(path, flat, photometric="minisblack", planarconfig="contig")
    return path


CASES = [
    ("x.png", "uint8", 1, {}),
    ("x.png", "uint8", 3, {}),
    ("x.png", "uint16", 1, {}),
    ("x.png", "uint16", 3, {}),
    ("x.tif", "uint8", 1, {}),
    ("x.tif", "uint16", 1, {}),
    ("x.tif", "uint16", 1, {"compression": "tiff_lzw"}),
    ("x.tif", "uint16", 1, {"compression": "tiff_adobe_deflate"}),
    ("x.tif", "uint16", 3, {}),
    ("x.tif", "uint16", 6, {}),
    ("x.tif", "float32", 1, {}),
    ("x.tif", "float32", 1, {"compression": "tiff_lzw"}),
    ("x.tif", "float32", 4, {}),
    ("x.tif", "int32", 1, {}),
    *(("x.npy", dtype, n, {}) for dtype in ("uint8", "uint16", "float32") for n in range(1, 9)),
]


@pytest.mark.parametrize(("name", "dtype", "channels", "options"), CASES)
def test_every_number_arrives(
    name: str, dtype: str, channels: int, options: dict[str, Any], tmp_path: Path
) -> None:
    raw = numbers(dtype, channels)
    path = write(tmp_path / name, raw, **options)
    stored = stored_format(path)
    assert stored[:2] == (channels, dtype)
    assert picture_size(path) == (SIZE[1], SIZE[0])
    low, high = FULL_RANGES.get(dtype, (0.0, 1.0))
    pixels = PixelFormat(channels, low, high, dtype)
    found = read_raw(path, pixels)
    assert found.dtype == dtype
    assert np.array_equal(found, raw)
    assert np.array_equal(read_values(path, pixels), pixels.to_unit(raw))


def test_what_is_plain_is_what_load_image_reads(tmp_path: Path) -> None:
    found = {}
    for index, (name, dtype, channels, options) in enumerate(CASES):
        path = write(tmp_path / f"{index}{name}", numbers(dtype, channels), **options)
        try:
            assert load_image(path).mode == "RGB"
            found[path] = True
        except DataError:
            found[path] = False
    assert found == {path: stored_format(path).is_plain for path in found}


def test_gray_is_repeated_and_8_bit_color_becomes_gray_as_cyclegan_does(tmp_path: Path) -> None:
    gray = numbers("uint16", 1)
    path = write(tmp_path / "gray.png", gray)
    found = read_raw(path, PixelFormat(3, 0, 65535, "uint16"))
    assert np.array_equal(found, np.repeat(gray, 3, axis=2))
    color = numbers("uint8", 3)
    path = write(tmp_path / "color.png", color)
    found = read_raw(path, PixelFormat(1, 0, 255, "uint8"))
    assert np.array_equal(found[..., 0], np.asarray(Image.fromarray(color).convert("L")))


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "1", "CMYK", "L"])
@pytest.mark.parametrize("channels", [1, 3])
def test_other_8_bit_files_are_read_as_everywhere(mode: str, channels: int, tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    Image.fromarray(numbers("uint8", 4), "RGBA").convert(mode).save(path)
    found = read_raw(path, PixelFormat(channels, 0, 255, "uint8"))
    assert (found.shape, found.dtype) == ((*SIZE, channels), np.uint8)
    if channels == 3:
        assert np.array_equal(found, np.asarray(load_image(path)))


def test_transparency_is_a_channel_where_it_is_asked_for(tmp_path: Path) -> None:
    raw = numbers("uint8", 4)
    Image.fromarray(raw, "RGBA").save(tmp_path / "x.png")
    assert stored_format(tmp_path / "x.png") == Stored(4, "uint8", True)
    found = read_raw(tmp_path / "x.png", PixelFormat(4, 0, 255, "uint8"))
    assert np.array_equal(found, raw)


def test_halves_of_two_images_side_by_side(tmp_path: Path) -> None:
    raw = numbers("uint16", 1)
    path = write(tmp_path / "x.png", raw)
    pixels = PixelFormat(1, 0, 65535, "uint16")
    assert np.array_equal(read_raw(path, pixels, "left"), raw[:, :4])
    assert np.array_equal(read_raw(path, pixels, "right"), raw[:, 4:])
    odd = write(tmp_path / "odd.npy", raw[:, :7])
    with pytest.raises(DataError, match=r"odd\.npy: 7 pixels wide.*even width"):
        read_raw(odd, pixels, "left")


@pytest.mark.parametrize(
    ("raw", "pixels", "message"),
    [
        (numbers("uint8", 1), PixelFormat(1, 0, 65535, "uint16"), "holds uint8 values, not uint16"),
        (numbers("uint16", 2), PixelFormat(1, 0, 65535, "uint16"), "has 2 channels; 1 are needed"),
        (numbers("float32", 1) + np.inf, PixelFormat(1, 0, 1, "float32"), "NaN or infinite"),
        (np.zeros((2, 2, 9)), PixelFormat(8, 0, 1, "float32"), r"has shape \(2, 2, 9\)"),
        (np.zeros((2, 2, 2, 1)), PixelFormat(2, 0, 1, "float32"), r"has shape \(2, 2, 2, 1\)"),
        (np.zeros((2, 2), np.complex64), PixelFormat(1, 0, 1, "float32"), "holds complex64"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    raw: np.ndarray[Any, Any], pixels: PixelFormat, message: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", raw)
    with pytest.raises(DataError, match=rf"x\.npy: .*{message}"):
        read_values(tmp_path / "x.npy", pixels)


class Hostile:
    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return (pytest.fail, ("code out of a file was run",))


def test_an_array_file_runs_nothing_and_claims_no_more_than_it_holds(tmp_path: Path) -> None:
    good = io.BytesIO()
    np.save(good, numbers("uint16", 1))
    objects = io.BytesIO()
    np.save(objects, np.array([[Hostile()]], object), allow_pickle=True)
    huge = io.BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)}
    np.lib.format.write_array_header_1_0(huge, shape)  # type: ignore[arg-type]  # a BytesIO will do
    archive = io.BytesIO()
    np.savez(archive, numbers("uint8", 1))
    contents = {
        "objects": objects.getvalue(),
        "pickle": pickle.dumps(Hostile()),
        "huge": huge.getvalue(),
        "archive": archive.getvalue(),
        "cut": good.getvalue()[:-1],
        "empty": b"",
        "text": b"no array",
    }
    for name, content in contents.items():
        path = tmp_path / f"{name}.npy"
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}\.npy: "):
            read_raw(path, PixelFormat(1, 0, 1, None))
        with pytest.raises(DataError, match=rf"{name}\.npy: "):
            stored_format(path)


def test_arrays_are_listed_where_there_are_no_pictures(tmp_path: Path) -> None:
    for name in ("b.npy", "a.npy", ".c.npy"):
        write(tmp_path / name, numbers("uint8", 1))
    assert [path.name for path in list_images(tmp_path)] == ["a.npy", "b.npy"]
    picture = write(tmp_path / "x.png", numbers("uint8", 3))
    assert list_images(tmp_path) == (picture,)


def test_an_array_is_no_picture_elsewhere(tmp_path: Path) -> None:
    path = write(tmp_path / "x.npy", numbers("uint8", 3))
    with pytest.raises(DataError, match=r"x\.npy: is an array; unpaired and paired"):
        load_image(path)
