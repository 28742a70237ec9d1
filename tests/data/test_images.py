from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gancomp.data.formats import list_images
from gancomp.data.images import (
    image_size,
    is_stored_sideways,
    load_image,
    load_image_as_pytorch_fid,
)
from gancomp.errors import DataError

ROTATED_90 = 6


def pixel(path: Path) -> tuple[int, ...]:
    image = load_image(path)
    assert image.mode == "RGB"
    return tuple(np.asarray(image)[0, 0].tolist())


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("RGB", (1, 2, 3), (1, 2, 3)),
        ("LA", (40, 255), (40, 40, 40)),
        ("LA", (40, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (0, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 128), (127, 127, 127)),
    ],
)
def test_every_pixel_mode_of_png_becomes_rgb(
    tmp_path: Path, mode: str, value: int | tuple[int, ...], expected: tuple[int, ...]
) -> None:
    Image.new(mode, (4, 4), value).save(tmp_path / "x.png")
    assert pixel(tmp_path / "x.png") == expected


def test_palette_with_a_transparent_entry_is_blended_onto_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([9, 8, 7, 200, 100, 50])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "x.png", transparency=0)
    pixels = np.asarray(load_image(tmp_path / "x.png"))
    assert pixels[0].tolist() == [[255, 255, 255], [200, 100, 50]]


def test_rgb_png_with_a_transparent_color_is_blended_onto_white(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2), (5, 6, 7)).save(tmp_path / "x.png", transparency=(5, 6, 7))
    assert pixel(tmp_path / "x.png") == (255, 255, 255)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_grayscale_is_scaled_and_not_clipped(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / f"x.{suffix}")
    assert np.asarray(load_image(tmp_path / f"x.{suffix}"))[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_without_an_agreed_range_are_refused_by_name(tmp_path: Path, dtype: type) -> None:
    Image.fromarray(np.full((2, 2), 70000, dtype=dtype)).save(tmp_path / "x.tif")
    with pytest.raises(DataError, match=r"x\.tif: .*no agreed range"):
        load_image(tmp_path / "x.tif")


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 0, 0, 0)).save(tmp_path / "x.jpg")
    assert min(pixel(tmp_path / "x.jpg")) > 250


def test_exif_rotation_is_applied_but_not_for_pytorch_fid(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = ROTATED_90
    path = tmp_path / "x.jpg"
    Image.new("RGB", (32, 16)).save(path, exif=exif)
    assert load_image(path).size == (16, 32)
    assert load_image_as_pytorch_fid(path).size == (32, 16)
    assert image_size(path) == (32, 16)
    assert is_stored_sideways(path)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_cost_the_picture(tmp_path: Path) -> None:
    Image.new("RGB", (32, 16)).save(tmp_path / "x.jpg", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert load_image(tmp_path / "x.jpg").size == (32, 16)


def jpeg_bytes() -> bytes:
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "reason", "header_ok"),
    [
        (b"", "empty", False),
        (b"hello, I am text", "no format that is read", False),
        (jpeg_bytes()[:900], "truncated", True),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "not a readable image", False),
    ],
)
def test_damaged_file_is_named_with_its_reason_in_one_line(
    tmp_path: Path, content: bytes, reason: str, header_ok: bool
) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        load_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    with contextlib.nullcontext() if header_ok else pytest.raises(DataError, match=reason):
        assert image_size(path) == (64, 64)


def test_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png: cannot be read \(No such file"):
        load_image(tmp_path / "gone.png")


def test_decompression_bomb_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (100, 100)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match=r"bomb\.png: too large"):
        load_image(tmp_path / "bomb.png")


def test_every_truncation_of_a_png_is_either_read_or_a_data_error(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(file, "PNG")
    content, refused = file.getvalue(), 0
    for length in range(len(content)):
        (tmp_path / "x.png").write_bytes(content[:length])
        try:
            load_image(tmp_path / "x.png")
        except DataError:
            refused += 1
    assert refused > len(content) // 2


def test_listing_is_sorted_and_leaves_out_what_is_no_image(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "c.tiff", "d.WebP", ".hidden.png", "._a.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    names = [path.name for path in list_images(tmp_path)]
    assert names == ["a.png", "b.JPG", "c.tiff", "d.WebP", "dangling.png"]


def test_folder_that_is_not_there_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: cannot be listed"):
        list_images(tmp_path / "nowhere")
