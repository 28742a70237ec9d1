"""Crops with their low-resolution versions: aligned, repeatable, and what files can do wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gancomp.data.degrade import downscale, modcrop
from gancomp.data.images import load_image
from gancomp.data.layout import scan
from gancomp.data.loader import batches
from gancomp.data.splits import Split
from gancomp.data.super_resolution import (
    SuperResolutionImages,
    aligned_pair,
    as_tensor,
    evaluation_crops,
    load_high_resolution,
)
from gancomp.data.transforms import to_nearest_uint8, to_tensor
from gancomp.errors import ConfigError, DataError

MakeImage = Callable[..., Path]


@pytest.fixture
def photos(tmp_path: Path, make_image: MakeImage) -> Path:
    """Four images of sizes that are no multiples of 4."""
    for index, size in enumerate([(50, 41), (34, 33), (65, 70), (32, 39)]):
        make_image(tmp_path / "photos" / f"{index}.png", size=size)
    return tmp_path / "photos"


def reader(root: Path, *, size: int = 16, **options: Any) -> SuperResolutionImages:
    split = scan(root, task="super-resolution").train
    return SuperResolutionImages(split, **{"size": size, "seed": 0} | options)


def test_sample_is_a_pure_function_of_seed_epoch_and_position(photos: Path) -> None:
    dataset, again = reader(photos), reader(photos)
    first = dataset[3, 1]
    for index in ((0, 0), (5, 2)):
        dataset[index]
    torch.manual_seed(99)
    state = torch.get_rng_state()
    for role, size in (("source", 4), ("target", 16)):
        assert torch.equal(first[role], again[3, 1][role])
        assert first[role].shape == (3, size, size)
        assert first[role].dtype == torch.float32
        assert first[role].abs().max() <= 1
        for other in (reader(photos, seed=1)[3, 1], dataset[4, 1]):
            assert not torch.equal(first[role], other[role])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("scale", [2, 4])
def test_every_position_of_the_crop_equals_the_cut_of_the_whole_downscaled_image(
    scale: int,
) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (32, 40, 3), dtype=np.uint8)
    whole, size = downscale(image, scale), 16
    low = size // scale
    positions = [
        (top, left) for top in range(32 // scale - low + 1) for left in range(40 // scale - low + 1)
    ]
    assert len(positions) == {2: 9 * 13, 4: 5 * 7}[scale]
    for top, left in positions:
        source, target = aligned_pair(image, top, left, size=size, scale=scale)
        assert np.array_equal(source, whole[top : top + low, left : left + low])
        y, x = top * scale, left * scale
        assert np.array_equal(target, image[y : y + size, x : x + size])


def test_crops_reach_every_row_and_column_and_every_turn_and_mirror(
    tmp_path: Path, make_image: MakeImage
) -> None:
    path = make_image(tmp_path / "photos" / "0.png", size=(26, 22))
    whole = modcrop(np.asarray(load_image(path)), 4)
    candidates = {
        (top, left, turns, mirrored): as_tensor(
            np.rot90(whole[top : top + 16, left : left + 16], turns)[:, :: -1 if mirrored else 1]
        )
        for top in (0, 4)
        for left in (0, 4, 8)
        for turns in range(4)
        for mirrored in (False, True)
    }
    low = {
        (top, left, turns, mirrored): as_tensor(
            np.rot90(downscale(whole, 4)[top // 4 :, left // 4 :][:4, :4], turns)[
                :, :: -1 if mirrored else 1
            ]
        )
        for top, left, turns, mirrored in candidates
    }
    dataset = reader(tmp_path / "photos")
    met = []
    for epoch in range(400):
        sample = dataset[epoch, 0]
        (key,) = [k for k, item in candidates.items() if torch.equal(item, sample["target"])]
        assert torch.equal(sample["source"], low[key])
        met.append(key)
    assert {key[:2] for key in met} == {(t, x) for t in (0, 4) for x in (0, 4, 8)}
    for turns in range(4):  # binomial: 4.6 standard deviations around 100
        assert 60 < sum(key[2] == turns for key in met) < 140
    assert 150 < sum(key[3] for key in met) < 250


def test_without_flip_and_rotation_the_crop_is_upright(photos: Path) -> None:
    dataset = reader(photos, flip=False, rotate=False)
    path = dataset.split.target[3]  # 32 x 36 after cutting: the crop of 32 is one of two
    upright = as_tensor(load_high_resolution(path, 4))
    whole = reader(photos, size=32, flip=False, rotate=False)
    for epoch in range(8):
        target = whole[epoch, 3]["target"]
        assert any(torch.equal(target, upright[:, y : y + 32]) for y in (0, 4))


def test_an_epoch_meets_every_file_once_and_goes_on_cyclically(photos: Path) -> None:
    dataset = reader(photos)
    assert len(dataset) == 4
    assert dataset[0, 6]["target"].shape == (3, 16, 16)
    batch = next(batches(dataset, batch_size=8, seed=0))
    assert batch["source"].shape == (8, 3, 4, 4)
    assert len({crop.numpy().tobytes() for crop in batch["target"]}) == 8


@pytest.mark.parametrize("kind", ["L", "LA", "RGBA", "P", "1", "I;16"])
def test_images_of_any_mode_come_out_as_rgb(kind: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    if kind == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    else:
        image = image.convert(kind)
    image.save(tmp_path / "photo.png")
    sample = reader(tmp_path)[0, 0]
    assert sample["source"].shape == (3, 4, 4)
    if kind in ("L", "I;16"):
        assert torch.equal(sample["target"][0], sample["target"][2])
    if kind == "I;16":  # scaled to 8 bits, not clipped
        levels = to_nearest_uint8(sample["target"][None])
        assert set(levels.flatten().tolist()) <= set(pixels[..., 0].flatten().tolist())


@pytest.mark.parametrize("size", [(1, 1), (3, 90), (15, 16), (90, 15)])
def test_an_image_smaller_than_the_crop_is_named_and_replaced_or_stops_a_strict_run(
    size: tuple[int, int], tmp_path: Path, make_image: MakeImage
) -> None:
    small = make_image(tmp_path / "a_small.png", size=size)
    make_image(tmp_path / "b_large.png", size=(24, 24))
    sample = reader(tmp_path)[0, 0]
    assert sample["target"].shape == (3, 16, 16)
    (message,) = sample.unreadable
    assert message.startswith(f"{small}: ")
    assert "next readable file" in message
    with pytest.raises(DataError, match=r"a_small\.png: .* use (larger images|a larger image)"):
        reader(tmp_path, strict=True)[0, 0]


def test_a_folder_of_small_images_only_is_one_error_with_the_way_out(
    tmp_path: Path, make_image: MakeImage
) -> None:
    for index in range(3):
        make_image(tmp_path / f"{index}.png", size=(12, 30))
    with pytest.raises(DataError) as error:
        reader(tmp_path)[0, 1]
    message = str(error.value)
    assert "none of 3 files" in message
    assert f"{tmp_path / '1.png'}: 12x28 pixels" in message
    assert "training crop of 16; use larger images, or a smaller `size`" in message
    assert "\n" not in message


def test_a_damaged_file_is_replaced_by_the_next(photos: Path) -> None:
    dataset = reader(photos)
    damaged = dataset.split.target[1]
    damaged.write_bytes(damaged.read_bytes()[:300])
    assert str(damaged) in dataset[0, 1].unreadable[0]
    with pytest.raises(DataError, match=damaged.name):
        SuperResolutionImages(dataset.split, size=16, seed=0, strict=True)[0, 1]


def test_impossible_settings_are_refused(photos: Path) -> None:
    for options, message in [
        ({"scale": 3}, "`scale` 3: .*2 or 4"),
        ({"size": 18}, "`size` 18: must be a multiple of the scale 4; use 16 or 20"),
        ({"size": 15, "scale": 2}, "`size` 15: .* use 14 or 16"),
        ({"size": 2}, "`size` 2: a training crop needs at least 4"),
        ({"load_size": 32}, "`load_size` 32: has no effect"),
    ]:
        with pytest.raises(ConfigError, match=message):
            reader(photos, **options)
    assert len(reader(photos, load_size=16)) == 4
    files = scan(photos, task="super-resolution").train.target
    with pytest.raises(DataError, match="no images"):
        SuperResolutionImages(Split((), ()), size=16, seed=0)
    with pytest.raises(DataError, match="side by side"):
        SuperResolutionImages(Split(files, files, side_by_side="left"), size=16, seed=0)


def test_evaluation_crops_are_the_centers_of_the_first_usable_images(
    photos: Path, make_image: MakeImage
) -> None:
    make_image(photos / "00.png", size=(8, 8))
    split = scan(photos, task="super-resolution").train
    warnings: list[str] = []
    crops = evaluation_crops(split, size=24, scale=4, count=2, say=warnings.append)
    assert crops["source"].shape == (2, 3, 6, 6)
    image = load_high_resolution(photos / "0.png", 4)  # 48 x 40: center from column 12 and row 8
    assert torch.equal(crops["target"][0], as_tensor(image[8:32, 12:36]))
    assert torch.equal(crops["source"][0], as_tensor(downscale(image, 4)[2:8, 3:9]))
    assert len(warnings) == 1
    assert "00.png" in warnings[0]
    few = evaluation_crops(split, size=40, scale=4, count=9, say=warnings.append)
    assert len(few["target"]) == 2
    with pytest.raises(
        DataError,
        match=r"none of 5 images can be used; the first: .*/0\.png: 48x40 .* smaller `size`",
    ):
        evaluation_crops(split, size=400, scale=4, count=2, say=warnings.append)


def test_pixels_become_what_other_readers_make_of_them_and_come_back_unchanged() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    images = as_tensor(levels)
    assert torch.equal(images, to_tensor(Image.fromarray(levels)))
    assert np.array_equal(to_nearest_uint8(images[None])[0], levels)
    off = torch.tensor([-3.0, 3.0, 0.49 / 127.5 - 1, 0.51 / 127.5 - 1]).view(1, 1, 2, 2)
    assert to_nearest_uint8(off).flatten().tolist() == [0, 255, 0, 1]
    with pytest.raises(ValueError, match="NaN"):
        to_nearest_uint8(torch.full((1, 3, 2, 2), torch.nan))
    with pytest.raises(ValueError, match="expected"):
        to_nearest_uint8(torch.zeros(3, 2, 2))
