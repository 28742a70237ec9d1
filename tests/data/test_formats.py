"""Which files are images: the list of formats, notes that are damaged, pictures that are large."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gancomp.data.formats import (
    FORMATS,
    IMAGE_SUFFIXES,
    PYTORCH_FID_SUFFIXES,
    list_images,
    sort_folder,
)
from gancomp.data.images import image_size, is_stored_sideways, load_image, readable_formats
from gancomp.errors import ConfigError, DataError

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 16\n%%EndComments\nshowpage\n"
RUNS_PROGRAMS = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "PDF", "MPEG", "FPX", "MIC"}


def encoded(kind: str = "PNG", **more: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 16), (10, 20, 30)).save(file, kind, **more)
    return file.getvalue()


def test_every_suffix_of_the_list_is_read_in_a_folder(tmp_path: Path) -> None:
    written = 0
    for kind, (_, suffixes) in FORMATS.items():
        for suffix in suffixes:
            if kind not in Image.SAVE or suffix == ".rgba":  # of four channels
                continue
            mode = {".pbm": "1", ".pgm": "L", ".bw": "L"}.get(suffix, "RGB")
            path = tmp_path / f"{written:02}{suffix}"
            Image.new(mode, (8, 6)).save(path, kind)
            written += 1
            assert load_image(path).size == (8, 6)
    assert written >= 25
    assert len(list_images(tmp_path)) == written


def test_what_pytorch_fid_reads_is_among_them() -> None:
    assert PYTORCH_FID_SUFFIXES < IMAGE_SUFFIXES


def test_no_format_of_the_list_runs_a_program_or_asks_a_plug_in() -> None:
    assert not RUNS_PROGRAMS & set(readable_formats())
    assert {"JPEG", "PNG", "WEBP", "TIFF", "PPM", "TGA"} < set(readable_formats())


def test_postscript_under_the_name_of_a_photograph_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    (tmp_path / "photo.jpg").write_bytes(EPS)
    with pytest.raises(DataError, match="of no format that is read"):
        load_image(tmp_path / "photo.jpg")
    assert not (tmp_path / "started").exists()


def test_folder_says_what_is_no_image_and_forgets_file_managers_notes(tmp_path: Path) -> None:
    for name in ("a.png", "b.HEIC", "c.txt", "Thumbs.db", "desktop.ini", ".DS_Store"):
        (tmp_path / name).touch()
    images, others = sort_folder(tmp_path)
    assert [path.name for path in images] == ["a.png"]
    assert [path.name for path in others] == ["b.HEIC", "c.txt"]


def broken_exif() -> dict[str, bytes]:
    good = Image.Exif()
    good[0x0112] = 6
    good[0x011A] = 72.0
    whole = good.tobytes()
    tag = b"\x12\x01\x05\x00\x01\x00\x00\x00"  # the orientation as a rational
    return {
        "header": b"Exif\0\0MM\x10*\0\0\0\x08",
        "cut off": whole[:17],
        "no header": b"\xab\xcd\xef",
        "rational over zero": b"Exif\0\0II*\0\x08\0\0\0\x01\0" + tag + b"\x1a\0\0\0" + b"\0" * 16,
    }


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("damage", sorted(broken_exif()))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_unreadable_exif_means_no_rotation(tmp_path: Path, kind: str, damage: str) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(encoded(kind, exif=broken_exif()[damage]))
    assert load_image(path).size == (32, 16)
    assert not is_stored_sideways(path)


def chunk(name: bytes, data: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(name + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


LARGE = zlib.compress(b"a" * 3_000_000)
NOTES = {
    "profile of 3 MB": chunk(b"iCCP", b"name\0\0" + LARGE),
    "profile by an unknown method": chunk(b"iCCP", b"name\0\7" + LARGE),
    "text of 3 MB": chunk(b"zTXt", b"key\0\0" + LARGE),
    "XMP of 3 MB": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LARGE),
    "XMP under the name of a text": chunk(b"tEXt", b"xmp\0tiff:Orientation"),
    "wrong checksum": chunk(b"tEXt", b"key\0value", 1),
    "raw profile": chunk(b"tEXt", b"Raw profile type exif\0\nexif\n  5\nzz"),
    "short resolution": chunk(b"pHYs", b"a"),
    "animation": chunk(b"acTL", b"a"),
}


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("note", sorted(NOTES))
def test_damaged_notes_do_not_cost_a_png_its_picture(tmp_path: Path, note: str, where: str) -> None:
    whole, path = encoded(), tmp_path / "x.png"
    at = 33 if where == "before" else len(whole) - 12  # behind IHDR, or before IEND
    path.write_bytes(whole[:at] + NOTES[note] + whole[at:])
    assert image_size(path) == (32, 16)
    assert np.asarray(load_image(path))[0, 0].tolist() == [10, 20, 30]


def test_orientation_survives_a_damaged_note_beside_it(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    whole, path = encoded(exif=exif), tmp_path / "x.png"
    path.write_bytes(whole[:33] + NOTES["profile of 3 MB"] + whole[33:])
    assert load_image(path).size == (16, 32)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_bytes_behind_the_picture_are_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(encoded(kind) + b"\0junk" * 50)
    assert load_image(path).size == (32, 16)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP", "MPO"])
def test_of_several_pictures_in_a_file_the_first_is_read(tmp_path: Path, kind: str) -> None:
    first, second = Image.new("RGB", (8, 8), "white"), Image.new("RGB", (8, 8), "black")
    first.save(tmp_path / "x.png", kind, save_all=True, append_images=[second])
    assert int(np.asarray(load_image(tmp_path / "x.png")).min()) > 250


def test_more_pixels_are_read_if_the_variable_allows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    Image.new("L", (100, 100)).save(tmp_path / "large.png")
    with pytest.raises(DataError, match="set GANCOMP_MAX_PIXELS"):
        load_image(tmp_path / "large.png")
    monkeypatch.setenv("GANCOMP_MAX_PIXELS", "10_000")
    assert load_image(tmp_path / "large.png").size == (100, 100)
    monkeypatch.setenv("GANCOMP_MAX_PIXELS", "9999")
    with pytest.warns(Image.DecompressionBombWarning), pytest.raises(DataError, match="too large"):
        load_image(tmp_path / "large.png")


@pytest.mark.parametrize("text", ["many", "0", "-5", "1e9", "9" * 19, "²"])
def test_a_limit_that_is_no_number_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    Image.new("L", (1, 1)).save(tmp_path / "x.png")
    monkeypatch.setenv("GANCOMP_MAX_PIXELS", text)
    with pytest.raises(ConfigError, match="GANCOMP_MAX_PIXELS"):
        load_image(tmp_path / "x.png")
