"""Files read ahead: how many wait, by number and by their pixels."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from PIL import Image

from gancomp.data import in_order
from gancomp.data.images import load_image
from gancomp.data.in_order import read_in_order


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
