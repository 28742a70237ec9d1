"""The decoded images that processes share, and whether there is room for them."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gancomp.data import cache
from gancomp.data.cache import DecodedImages, available_bytes, is_kept, num_bytes
from gancomp.errors import ConfigError


def picture(value: int) -> Tensor:
    return torch.full((4, 4, 3), value, dtype=torch.uint8)


def test_a_slot_is_empty_until_it_is_filled_and_holds_a_copy() -> None:
    images = DecodedImages(3, 4)
    pixels = picture(7)
    assert 1 not in images
    with pytest.raises(KeyError):
        images[1]
    images.fill(1, pixels)
    pixels.zero_()
    assert [slot in images for slot in range(3)] == [False, True, False]
    assert torch.equal(images[1], picture(7))


def test_a_forked_process_fills_the_same_memory() -> None:
    images = DecodedImages(2, 4)
    child = os.fork()
    if child == 0:
        images.fill(1, picture(9))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert torch.equal(images[1], picture(9))


def test_a_cache_is_not_pickled_silently_into_another_one() -> None:
    with pytest.raises(TypeError, match="forking"):
        pickle.dumps(DecodedImages(1, 4))


def test_nothing_is_reserved_before_it_is_used() -> None:
    DecodedImages(100_000, 286)  # 25 GB


def test_memory_that_the_system_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int, size: int) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(cache.mmap, "mmap", refuse)
    with pytest.raises(ConfigError, match="`cache`: the system refuses .* `cache` off"):
        DecodedImages(10, 286)


NEEDED = num_bytes(10, 286)


@pytest.mark.parametrize(
    ("mode", "free", "kept"),
    [
        ("off", 100 * NEEDED, False),
        ("auto", 4 * NEEDED, True),
        ("auto", 4 * NEEDED - 1, False),
        ("on", NEEDED, True),
    ],
)
def test_auto_takes_a_quarter_of_the_free_memory_and_on_all_of_it(
    mode: str, free: int, kept: bool
) -> None:
    said: list[str] = []
    assert is_kept(mode, 10, 286, say=said.append, available=lambda: free) == kept
    told = mode == "auto" and not kept
    assert len(said) == told
    assert not told or ("10 images of 286x286 need 2.45 MB" in said[0] and "on" in said[0])


def test_on_without_room_is_an_error_with_a_way_out() -> None:
    with pytest.raises(ConfigError, match="`cache` on: 10 images .*; use `cache` off") as error:
        is_kept("on", 10, 286, say=pytest.fail, available=lambda: NEEDED - 1)
    assert "\n" not in str(error.value)


def test_free_memory_is_what_the_system_and_the_control_group_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(cache, "CGROUP", tmp_path)
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert available_bytes() == physical // 2
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    3000 kB\n")
    assert available_bytes() == 3000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert available_bytes() == 3000 * 1024
    (tmp_path / "memory.max").write_text("5000\n")
    assert available_bytes() == 4000
    (tmp_path / "memory.current").write_text("6000\n")
    assert available_bytes() == 0
