"""unpaired.py, paired.py and what they share."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from gancomp.data import paired as paired_module
from gancomp.data import unpaired as unpaired_module
from gancomp.data.images import load_image
from gancomp.data.indexed import draw_numbers
from gancomp.data.layout import scan
from gancomp.data.paired import PairedImages
from gancomp.data.splits import Split
from gancomp.data.transforms import to_pixels
from gancomp.data.unpaired import UnpairedImages
from gancomp.errors import ConfigError, DataError

MakeImage = Callable[..., Path]


def unpaired(
    root: Path, *, size: int = 24, load_size: int = 24, seed: int = 0, flip: bool = True
) -> UnpairedImages:
    return UnpairedImages(scan(root).train, size=size, load_size=load_size, seed=seed, flip=flip)


def paired(root: Path, direction: str = "AtoB", *, size: int = 24) -> PairedImages:
    split = scan(root, direction=direction).train
    return PairedImages(split, size=size, load_size=24, seed=0)


def test_sample_is_a_pure_function_of_seed_epoch_and_position(unpaired_root: Path) -> None:
    dataset, again = (unpaired(unpaired_root, size=16, load_size=20) for _ in range(2))
    first = dataset[3, 1]
    for index in ((0, 0), (5, 2)):
        dataset[index]
    torch.manual_seed(99)
    for role in ("source", "target"):
        assert torch.equal(first[role], again[3, 1][role])
        assert first[role].shape == (16, 16, 3)
        assert first[role].dtype == torch.uint8
    other = unpaired(unpaired_root, size=16, load_size=20, seed=1)
    assert not torch.equal(first["source"], other[3, 1]["source"])
    assert not torch.equal(first["source"], dataset[4, 1]["source"])


def test_reading_leaves_the_global_generator_alone(unpaired_root: Path) -> None:
    before = torch.get_rng_state()
    unpaired(unpaired_root)[0, 0]
    assert torch.equal(before, torch.get_rng_state())


def test_unpaired_epoch_has_the_length_of_the_larger_pile_and_meets_all_of_it(
    unpaired_root: Path,
) -> None:
    dataset = unpaired(unpaired_root, flip=False)
    assert len(dataset) == 5
    files = [to_pixels(Image.open(path)) for path in dataset.split.source]
    for position in range(5):
        assert torch.equal(dataset[0, position]["source"], files[position])
    assert torch.equal(dataset[0, 7]["source"], files[2])


def test_unpaired_target_is_random_and_every_file_gets_its_turn(unpaired_root: Path) -> None:
    dataset = unpaired(unpaired_root, flip=False)
    files = [to_pixels(Image.open(path)) for path in dataset.split.target]
    met = [
        next(i for i, file in enumerate(files) if torch.equal(dataset[epoch, 0]["target"], file))
        for epoch in range(40)
    ]
    assert set(met) == {0, 1, 2}


def test_half_of_the_samples_are_flipped_and_none_with_flip_off(unpaired_root: Path) -> None:
    file = to_pixels(Image.open(scan(unpaired_root).train.source[0]))
    flipping = unpaired(unpaired_root)
    flipped = sum(torch.equal(flipping[e, 0]["source"], file.flip(1)) for e in range(100))
    assert 30 < flipped < 70  # binomial: 4 standard deviations around 50
    plain = unpaired(unpaired_root, flip=False)
    assert all(torch.equal(plain[e, 0]["source"], file) for e in range(20))


def test_halves_of_a_pair_get_the_same_crop_and_flip(tmp_path: Path, make_image: MakeImage) -> None:
    image = Image.open(make_image(tmp_path / "one.png"))
    both = Image.new("RGB", (48, 24))
    both.paste(image, (0, 0))
    both.paste(image, (24, 0))
    (tmp_path / "train").mkdir()
    both.save(tmp_path / "train" / "0.png")
    dataset = paired(tmp_path, size=16)
    crops = [dataset[epoch, 0] for epoch in range(20)]
    assert all(torch.equal(crop["source"], crop["target"]) for crop in crops)
    assert len({crop["source"].numpy().tobytes() for crop in crops}) > 10


def test_direction_swaps_the_halves(side_by_side_root: Path) -> None:
    forth, back = paired(side_by_side_root), paired(side_by_side_root, "BtoA")
    assert len(forth) == 5
    left = to_pixels(Image.open(forth.split.source[1]).crop((0, 0, 24, 24)))
    sample = next(s for s in (forth[e, 1] for e in range(20)) if torch.equal(s["source"], left))
    assert not torch.equal(sample["source"], sample["target"])
    for epoch in range(3):
        assert torch.equal(forth[epoch, 1]["source"], back[epoch, 1]["target"])
        assert torch.equal(forth[epoch, 1]["target"], back[epoch, 1]["source"])


def test_pairs_in_two_folders_equal_the_same_pairs_side_by_side(
    side_by_side_root: Path, tmp_path: Path
) -> None:
    for path in (side_by_side_root / "train").iterdir():
        for side, left in (("A", 0), ("B", 24)):
            target = tmp_path / "two" / f"train{side}" / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.open(path).crop((left, 0, left + 24, 24)).save(target)
    one, two = paired(side_by_side_root, size=16), paired(tmp_path / "two", size=16)
    for position in range(5):
        for role in ("source", "target"):
            assert torch.equal(one[0, position][role], two[0, position][role])


def test_file_that_turns_out_damaged_is_named_and_replaced_by_the_next(unpaired_root: Path) -> None:
    dataset = unpaired(unpaired_root, flip=False)
    damaged, following = dataset.split.source[4], dataset.split.source[0]
    damaged.write_bytes(damaged.read_bytes()[:200])
    sample = dataset[0, 4]
    assert torch.equal(sample["source"], to_pixels(Image.open(following)))
    assert len(sample.unreadable) == 1
    assert str(damaged) in sample.unreadable[0]
    assert dataset[0, 0].unreadable == ()
    strict = UnpairedImages(dataset.split, size=24, load_size=24, seed=0, strict=True)
    with pytest.raises(DataError, match=damaged.name):
        strict[0, 4]


def test_pair_with_a_damaged_half_is_replaced_whole(tmp_path: Path, make_image: MakeImage) -> None:
    for side in "AB":
        for index in range(3):
            make_image(tmp_path / f"train{side}" / f"{index}.png")
    dataset = paired(tmp_path)
    (tmp_path / "trainB" / "1.png").write_bytes(b"")
    sample, same_draws = dataset[0, 1], PairedImages(dataset.split, size=24, load_size=24, seed=0)
    assert "trainB/1.png" in sample.unreadable[0]
    shutil.copy(tmp_path / "trainA" / "2.png", tmp_path / "trainA" / "1.png")
    shutil.copy(tmp_path / "trainB" / "2.png", tmp_path / "trainB" / "1.png")
    for role in ("source", "target"):
        assert torch.equal(sample[role], same_draws[0, 1][role])


def test_dataset_that_became_unreadable_as_a_whole_is_a_data_error(unpaired_root: Path) -> None:
    dataset = unpaired(unpaired_root)
    for path in dataset.split.target:
        path.unlink()
    with pytest.raises(DataError, match="none of 3 files is a readable image"):
        dataset[0, 0]


def test_images_of_any_size_and_mode_come_out_as_rgb_of_the_training_size(tmp_path: Path) -> None:
    for index, (mode, size) in enumerate([("L", (5, 90)), ("RGBA", (300, 7)), ("1", (1, 1))]):
        for side in "AB":
            (tmp_path / f"train{side}").mkdir(exist_ok=True)
            Image.new(mode, size).save(tmp_path / f"train{side}" / f"{side}{index}.png")
    dataset = unpaired(tmp_path, size=16, load_size=18)
    assert [tuple(dataset[0, i]["source"].shape) for i in range(3)] == [(16, 16, 3)] * 3


def test_impossible_settings_are_refused(unpaired_root: Path, side_by_side_root: Path) -> None:
    with pytest.raises(ConfigError, match="load size 16 is below the training crop 24"):
        unpaired(unpaired_root, load_size=16)
    with pytest.raises(DataError, match="side by side"):
        UnpairedImages(scan(side_by_side_root).train, size=8, load_size=8, seed=0)
    with pytest.raises(DataError, match="5 source and 3 target"):
        PairedImages(scan(unpaired_root).train, size=8, load_size=8, seed=0)
    with pytest.raises(DataError, match="both need at least one"):
        UnpairedImages(Split((), ()), size=8, load_size=8, seed=0)


def as_released(path: Path, draws: tuple[float, float, float], size: int, load: int) -> Image.Image:
    """Resize, crop and flip by Pillow alone, as gancomp did it before pixels were cached."""
    image = Image.open(path).convert("RGB").resize((load, load), Image.Resampling.BICUBIC)
    left, top = int(draws[0] * (load - size + 1)), int(draws[1] * (load - size + 1))
    image = image.crop((left, top, left + size, top + size))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if draws[2] < 0.5 else image


@pytest.mark.parametrize("cached", [False, True])
def test_samples_are_those_of_pillow_s_resize_crop_and_flip_bit_for_bit(
    unpaired_root: Path, cached: bool
) -> None:
    split = scan(unpaired_root).train
    data = UnpairedImages(split, size=16, load_size=21, seed=4, cached=cached)
    for epoch in range(12):  # the second time round from the cache, with and without a flip
        position = epoch % 5
        numbers = draw_numbers(7, seed=4, epoch=epoch, position=position)
        sample = data[epoch, position]
        for role, path, draws in (
            ("source", split.source[position], numbers[1:4]),
            ("target", split.target[int(numbers[0] * 3)], numbers[4:7]),
        ):
            expected = as_released(path, (draws[0], draws[1], draws[2]), 16, 21)
            assert torch.equal(sample[role], to_pixels(expected))


@pytest.mark.parametrize("kind", ["unpaired", "side by side"])
def test_a_cached_reader_decodes_each_image_once_and_gives_the_same_samples(
    kind: str, unpaired_root: Path, side_by_side_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Path] = []

    def counting(path: Path) -> Image.Image:
        decoded.append(path)
        return load_image(path)

    reader, root, module = (
        (UnpairedImages, unpaired_root, unpaired_module)
        if kind == "unpaired"
        else (PairedImages, side_by_side_root, paired_module)
    )
    plain, cached = (
        reader(scan(root).train, size=16, load_size=20, seed=0, cached=cached)
        for cached in (False, True)
    )
    indices = [(epoch, position) for epoch in range(9) for position in range(len(plain))]
    expected = [plain[index] for index in indices]
    monkeypatch.setattr(module, "load_image", counting)
    for index, sample in zip(indices, expected, strict=True):
        found = cached[index]
        assert all(torch.equal(found[role], sample[role]) for role in ("source", "target"))
    files = {*plain.split.source, *plain.split.target}
    assert set(decoded) == files
    # a file with two halves is decoded once for both, since both are wanted at the same time
    assert len(decoded) == len(files)


def test_a_damaged_file_is_named_each_time_and_never_kept(unpaired_root: Path) -> None:
    data = UnpairedImages(scan(unpaired_root).train, size=8, load_size=8, seed=0, cached=True)
    data.split.source[2].write_bytes(b"")
    for epoch in range(2):
        sample = data[epoch, 2]
        assert "a2.png" in sample.unreadable[0]
    assert data.cache is not None
    assert 2 not in data.cache
    assert 3 in data.cache


def test_a_reader_that_was_pickled_reads_on_without_a_cache(unpaired_root: Path) -> None:
    data = UnpairedImages(scan(unpaired_root).train, size=8, load_size=9, seed=0, cached=True)
    copy = pickle.loads(pickle.dumps(data))
    assert copy.cache is None
    assert data.cache is not None
    assert torch.equal(copy[1, 3]["source"], data[1, 3]["source"])
