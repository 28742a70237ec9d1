"""Images as evaluations read them, and how many of them wait, by number and by their pixels."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gancomp.data import in_order
from gancomp.data.images import load_image
from gancomp.data.in_order import evaluation_batches, read_in_order, uint8_folder
from gancomp.data.layout import scan
from gancomp.data.transforms import to_tensor
from gancomp.errors import DataError


@pytest.mark.parametrize(("bytes_ahead", "most"), [(100_000, 3), (10_000, 1), (1 << 30, 12)])
def test_what_waits_is_bounded_by_the_pixels_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bytes_ahead: int, most: int
) -> None:
    monkeypatch.setattr(in_order, "BYTES_AHEAD", bytes_ahead)
    paths = [tmp_path / f"{number:02}.png" for number in range(12)]
    for path in paths:
        Image.new("RGB", (100, 100)).save(path)  # 30,000 bytes of pixels
    started, over = set(), 0
    lock = threading.Lock()

    def read(path: Path) -> Path:
        with lock:
            started.add(path)
        load_image(path)
        return path

    order: list[Path] = []
    for path, _ in read_in_order(paths, read, lambda message: None, True):
        with lock:
            over = max(over, len(started) - len(order))
        order.append(path)
    assert order == paths
    assert 1 <= over <= most


def test_a_file_that_cannot_be_read_stays_in_its_place(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(b"")
    said: list[str] = []
    paths = sorted(tmp_path.iterdir())
    read = [path.name for path, _ in read_in_order(paths, load_image, said.append, False)]
    assert read == ["a.png", "c.png"]
    assert len(said) == 1


def test_evaluation_reads_every_image_in_order_without_crop_or_flip(unpaired_root: Path) -> None:
    split = scan(unpaired_root).test
    assert split is not None
    found = list(evaluation_batches(split, size=16, batch_size=2))
    assert [name for names, _ in found for name in names] == ["a0.png", "a1.png", "a2.png"]
    assert [tuple(images.shape) for _, images in found] == [(2, 3, 16, 16), (1, 3, 16, 16)]
    resized = Image.open(split.source[2]).resize((16, 16), Image.Resampling.BICUBIC)
    assert torch.equal(found[1][1][0], to_tensor(resized))


def test_evaluation_of_pairs_reads_the_source_half(side_by_side_root: Path) -> None:
    split = scan(side_by_side_root, direction="BtoA").test
    assert split is not None
    ((_, images),) = evaluation_batches(split, size=24, batch_size=9)
    right = Image.open(split.source[0]).crop((24, 0, 48, 24))
    assert torch.equal(images[0], to_tensor(right))
    targets = list(uint8_folder(split.target, half=split.target_half))
    np.testing.assert_array_equal(
        targets[0], np.asarray(Image.open(split.target[0]).crop((0, 0, 24, 24)))
    )


def test_uint8_folder_reads_what_pytorch_fid_reads(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4), (9, 99, 199)).save(tmp_path / "turned.jpg", exif=exif)
    Image.new("RGBA", (5, 7), (10, 20, 30, 0)).save(tmp_path / "clear.png")
    paths = sorted(tmp_path.iterdir())
    for path, pixels in zip(paths, uint8_folder(paths), strict=True):
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(path).convert("RGB")))


def test_evaluation_and_uint8_skip_by_name_or_stop_if_strict(unpaired_root: Path) -> None:
    split = scan(unpaired_root).test
    assert split is not None
    split.source[0].write_bytes(b"")
    warnings: list[str] = []
    found = list(evaluation_batches(split, size=8, batch_size=1, say=warnings.append))
    assert [names for names, _ in found] == [["a1.png"], ["a2.png"]]
    assert len(list(uint8_folder(split.source, say=warnings.append))) == 2
    assert len(warnings) == 2
    assert all("a0.png" in warning for warning in warnings)
    with pytest.raises(DataError, match=r"a0\.png"):
        list(evaluation_batches(split, size=8, batch_size=1, strict=True))
    with pytest.raises(DataError, match=r"a0\.png"):
        list(uint8_folder(split.source, strict=True))


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match="none of 1 files"):
        list(uint8_folder([tmp_path / "a.png"], say=lambda message: None))
    with pytest.raises(DataError, match="none of 0 files"):
        list(evaluation_batches([], size=8, batch_size=1))
