"""Whole images as squares, with their classes: what synthesis is trained and judged on."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gancomp.data import synthesis as module
from gancomp.data.images import load_image
from gancomp.data.layout import scan
from gancomp.data.splits import Split
from gancomp.data.synthesis import SynthesisImages, square_images
from gancomp.data.transforms import to_pixels
from gancomp.errors import ConfigError, DataError

MakeImage = Callable[..., Path]


@pytest.fixture
def photos(tmp_path: Path, make_image: MakeImage) -> Path:
    """Four images of several shapes; the third is of the training size 16."""
    for index, size in enumerate([(50, 41), (20, 33), (16, 16), (9, 12)]):
        make_image(tmp_path / "photos" / f"{index}.png", size=size)
    return tmp_path / "photos"


@pytest.fixture
def zoo(tmp_path: Path, make_image: MakeImage) -> Path:
    """Three classes of 4, 3 and 2 images."""
    for name, count in (("zebra", 4), ("ape", 3), ("cat", 2)):
        for index in range(count):
            make_image(tmp_path / "zoo" / name / f"{index}.png", size=(18 + index, 20))
    return tmp_path / "zoo"


def reader(root: Path, **options: Any) -> SynthesisImages:
    split = scan(root, task="synthesis").train
    return SynthesisImages(split, **{"size": 16, "seed": 0} | options)


def test_sample_is_a_pure_function_of_seed_epoch_and_position(photos: Path) -> None:
    dataset, again = reader(photos), reader(photos)
    samples = [dataset[epoch, 1]["image"] for epoch in range(8)]
    state = torch.get_rng_state()
    for epoch in (5, 0, 7):
        assert torch.equal(again[epoch, 1]["image"], samples[epoch])
    assert torch.equal(torch.get_rng_state(), state)
    assert samples[0].dtype == torch.uint8
    assert samples[0].shape == (16, 16, 3)
    other = [reader(photos, seed=1)[epoch, 1]["image"] for epoch in range(8)]
    assert any(not torch.equal(a, b) for a, b in zip(samples, other, strict=True))


def test_the_square_in_the_middle_is_resized_once_with_lanczos_filter(photos: Path) -> None:
    dataset = reader(photos, flip=False)
    for position, box in enumerate([(4, 0, 45, 41), (0, 6, 20, 26), (0, 0, 16, 16), (0, 1, 9, 10)]):
        image = load_image(dataset.split.target[position]).crop(box)
        expected = image.resize((16, 16), Image.Resampling.LANCZOS)
        assert torch.equal(dataset[0, position]["image"], to_pixels(expected))


def test_an_image_of_the_right_size_comes_out_bit_for_bit(photos: Path) -> None:
    dataset = reader(photos, flip=False)
    stored = to_pixels(Image.open(photos / "2.png"))
    assert torch.equal(dataset[3, 2]["image"], stored)


def test_half_of_the_samples_are_mirrored_and_none_without_flip(photos: Path) -> None:
    plain = reader(photos, flip=False)[0, 0]["image"]
    drawn = [reader(photos)[epoch, 0]["image"] for epoch in range(200)]
    mirrored = sum(torch.equal(image, plain.flip(1)) for image in drawn)
    assert 70 < mirrored < 130  # binomial: 4 standard deviations around 100
    assert mirrored + sum(torch.equal(image, plain) for image in drawn) == 200
    assert all(torch.equal(reader(photos, flip=False)[e, 0]["image"], plain) for e in range(5))


def test_an_epoch_meets_every_file_once_and_goes_on_cyclically(photos: Path) -> None:
    dataset = reader(photos, flip=False)
    assert len(dataset) == 4
    images = [dataset[0, position]["image"] for position in range(6)]
    assert len({image.numpy().tobytes() for image in images}) == 4
    assert torch.equal(images[5], images[1])


def test_class_folders_give_labels_and_a_plain_folder_none(photos: Path, zoo: Path) -> None:
    assert reader(photos)[0, 0].keys() == {"image"}
    dataset = reader(zoo)
    labels = [dataset[1, position]["label"] for position in range(9)]
    assert [int(label) for label in labels] == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert labels[0].dtype == torch.int64
    assert labels[0].shape == ()


@pytest.mark.parametrize("cached", [False, True])
def test_what_takes_the_place_of_a_damaged_file_brings_its_own_label(
    zoo: Path, cached: bool
) -> None:
    dataset = reader(zoo, flip=False, cached=cached)
    strict = reader(zoo, cached=cached, strict=True)
    (zoo / "ape" / "2.png").write_bytes(b"")
    sample = dataset[0, 2]
    assert int(sample["label"]) == 1
    assert torch.equal(sample["image"], dataset[0, 3]["image"])
    assert "ape/2.png" in sample.unreadable[0]
    with pytest.raises(DataError, match=r"2\.png"):
        strict[0, 2]


def test_a_cached_reader_decodes_each_image_once_and_gives_the_same_samples(
    zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Path] = []

    def counting(path: Path) -> Image.Image:
        decoded.append(path)
        return load_image(path)

    plain, cached = reader(zoo), reader(zoo, cached=True)
    indices = [(epoch, position) for epoch in range(5) for position in range(9)]
    expected = [plain[index] for index in indices]
    monkeypatch.setattr(module, "load_image", counting)
    for index, sample in zip(indices, expected, strict=True):
        found = cached[index]
        assert found.keys() == {"image", "label"}
        assert all(torch.equal(found[role], sample[role]) for role in found)
    assert sorted(decoded) == sorted(plain.split.target)
    assert cached.cache is not None
    assert cached.cache.num_images == 9
    copy = pickle.loads(pickle.dumps(cached))
    assert copy.cache is None
    assert torch.equal(copy[2, 5]["image"], plain[2, 5]["image"])


def test_impossible_settings_are_refused(photos: Path) -> None:
    split = scan(photos, task="synthesis").train
    assert SynthesisImages(split, size=16, load_size=16, seed=0).load_size == 16
    with pytest.raises(ConfigError, match="`load_size` 18: has no effect on synthesis"):
        SynthesisImages(split, size=16, load_size=18, seed=0)
    with pytest.raises(DataError, match="no images"):
        SynthesisImages(Split((), ()), size=16, seed=0)
    with pytest.raises(DataError, match="side by side"):
        SynthesisImages(Split(split.source, split.target, side_by_side="left"), size=16, seed=0)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_images_of_any_mode_come_out_as_rgb(mode: str, tmp_path: Path) -> None:
    Image.new(mode, (7, 30)).save(tmp_path / "one.png")
    assert reader(tmp_path)[0, 0]["image"].shape == (16, 16, 3)


def test_reals_to_compare_with_are_the_reader_s_images_with_their_mirror_images(
    photos: Path,
) -> None:
    dataset = reader(photos, flip=False)
    paths = dataset.split.target
    expected = [dataset[0, position]["image"].numpy() for position in range(4)]
    found = list(square_images(paths, size=16))
    np.testing.assert_array_equal(np.stack(found), np.stack(expected))
    both = list(square_images(paths, size=16, mirrored=True))
    np.testing.assert_array_equal(np.stack(both[::2]), np.stack(expected))
    np.testing.assert_array_equal(np.stack(both[1::2]), np.stack(expected)[:, :, ::-1])
    assert all(pixels.flags.c_contiguous for pixels in both)


def test_unreadable_reals_are_skipped_by_name_or_stop_if_strict(photos: Path) -> None:
    paths = scan(photos, task="synthesis").train.target
    paths[0].write_bytes(b"")
    warnings: list[str] = []
    assert len(list(square_images(paths, size=8, say=warnings.append))) == 3
    assert len(warnings) == 1
    assert "0.png" in warnings[0]
    with pytest.raises(DataError, match=r"0\.png"):
        list(square_images(paths, size=8, strict=True))
