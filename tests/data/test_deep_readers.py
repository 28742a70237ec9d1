"""Readers of deep images: the same samples from cache, workers and files; pairs stay pairs."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from gancomp.data.check import check_folder
from gancomp.data.loader import batches
from gancomp.data.paired import PairedImages
from gancomp.data.splits import Split
from gancomp.data.transforms import PixelFormat
from gancomp.data.unpaired import UnpairedImages
from gancomp.losses.perceptual import load_perceptual
from gancomp.sizes import Size, sides

DEPTH, MANY = PixelFormat(1, 0, 10, "float32"), PixelFormat(5, 0, 65535, "uint16")


def split(folder: Path) -> Split:
    rng = np.random.default_rng(0)
    paths: list[list[Path]] = [[], []]
    for index in range(3):
        depth = rng.random((20, 24), dtype=np.float32) * 10
        many = np.repeat((depth[..., None] * 6553.5).astype(np.uint16), 5, axis=2)
        for side, raw in enumerate((depth, many)):
            paths[side].append(folder / f"{'ab'[side]}{index}.npy")
            np.save(paths[side][-1], raw)
    return Split(tuple(paths[0]), tuple(paths[1]))


@pytest.mark.parametrize(("size", "load_size"), [(16, 18), ((16, 24), (18, 27))])
@pytest.mark.parametrize("kind", [UnpairedImages, PairedImages])
def test_cache_and_workers_change_no_sample(
    kind: type[UnpairedImages | PairedImages], size: Size, load_size: Size, tmp_path: Path
) -> None:
    files, found = split(tmp_path), []
    for cached, workers in ((False, 0), (True, 0), (True, 1)):
        reader = kind(
            files,
            size=size,
            load_size=load_size,
            seed=3,
            cached=cached,
            source_pixels=DEPTH,
            target_pixels=MANY,
        )
        stream = batches(reader, batch_size=2, seed=1, workers=workers)
        found.append(list(islice(stream, 5)))
        stream.close()
        if cached and not workers:
            assert reader.cache is not None
            assert reader.cache.num_filled() == 6
    for batch in found[0]:
        assert batch["source"].shape == (2, 1, *sides(size))
        assert batch["target"].shape == (2, 5, *sides(size))
        assert batch["source"].dtype == torch.float32
        assert batch["source"].abs().max() <= 1
        if kind is PairedImages:  # the same window of both
            difference = batch["source"] - batch["target"][:, :1]
            assert difference.abs().max() < 1e-3  # of 16 bits' rounding
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            assert all(torch.equal(one[role], other[role]) for role in one)


def test_perceptual_maps_of_gray_are_those_of_three_equal_channels() -> None:
    network = load_perceptual("random", None, taps=["relu2_2"], say=pytest.fail)
    assert network is not None
    gray = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    (one,), (three,) = network(gray).values(), network(gray.repeat(1, 3, 1, 1)).values()
    assert torch.equal(one, three)


def test_a_check_of_the_data_reads_arrays(tmp_path: Path) -> None:
    for side in "AB":
        (tmp_path / f"train{side}").mkdir()
        for index in range(2):
            raw = np.full((8, 9), index + (side == "B") * 2, np.float32)
            np.save(tmp_path / f"train{side}" / f"{side}{index}.npy", raw)
    report = check_folder(tmp_path, "unpaired")
    assert report.problems == []
    assert report.folders["trainA"].modes == {"float32, 1 channel": 2}
    assert report.folders["trainA"].sizes == {"9x8": 2}
