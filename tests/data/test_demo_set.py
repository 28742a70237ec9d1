import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gancomp.data.demo_set import (
    PERIODS_PER_SIDE,
    Folder,
    background_change,
    draw_scene,
    shape_masks,
    stripe_score,
    write_demo_set,
)
from gancomp.errors import ConfigError

COUNT = 12


def scenes_as_tensor(folder: Folder, kind: str, size: int = 64) -> Tensor:
    scenes = [draw_scene(folder, index, size=size) for index in range(COUNT)]
    pixels = np.stack([getattr(scene, kind) for scene in scenes])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1


@pytest.fixture(scope="module")
def masks() -> Tensor:
    return shape_masks("testB", COUNT)


@pytest.fixture(scope="module")
def plain() -> Tensor:
    return scenes_as_tensor("testB", "plain")


@pytest.fixture(scope="module")
def striped() -> Tensor:
    return scenes_as_tensor("testB", "striped")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*.png"))
    }


def test_unpaired_set_has_four_folders_whose_names_are_unrelated(tmp_path: Path) -> None:
    write_demo_set(tmp_path, train=3, test=2)
    assert names(tmp_path) == ["testA", "testB", "trainA", "trainB"]
    assert names(tmp_path / "trainA") == ["plain_0000.png", "plain_0001.png", "plain_0002.png"]
    assert names(tmp_path / "testB") == ["striped_0000.png", "striped_0001.png"]
    assert len(digests(tmp_path)) == len(set(digests(tmp_path).values())) == 10


def test_paired_set_holds_one_scene_in_both_paintings_side_by_side(tmp_path: Path) -> None:
    write_demo_set(tmp_path, train=2, test=1, size=32, paired=True)
    assert names(tmp_path) == ["train", "val"]
    with Image.open(tmp_path / "train" / "pair_0001.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (32, 64, 3)
    outside = shape_masks("train", 2, size=32)[1, 0].numpy()
    differs = (pixels[:, :32] != pixels[:, 32:]).any(axis=2)
    assert differs[outside].mean() > 0.9
    assert not differs[0].any()  # the top row is background


def test_same_seed_writes_the_same_bytes_and_another_seed_none_of_them(tmp_path: Path) -> None:
    for folder, seed in (("first", 5), ("again", 5), ("other", 6)):
        write_demo_set(tmp_path / folder, seed=seed, train=2, test=1, size=32)
    first, again, other = (digests(tmp_path / folder) for folder in ("first", "again", "other"))
    assert first == again
    assert first.keys() == other.keys()
    assert not set(first.values()) & set(other.values())


def test_more_images_leave_the_earlier_ones_as_they_were(tmp_path: Path) -> None:
    write_demo_set(tmp_path / "few", train=1, test=1, size=32)
    write_demo_set(tmp_path / "many", train=3, test=2, size=32)
    assert digests(tmp_path / "few").items() <= digests(tmp_path / "many").items()


def test_pixels_of_a_seed_are_the_same_on_every_machine() -> None:
    # the digest was taken on x86-64 with NumPy 2.4; a change of it changes every demo figure
    digest = hashlib.sha256()
    for index in range(8):
        scene = draw_scene("trainB", index)
        digest.update(scene.plain.tobytes() + scene.striped.tobytes())
    assert digest.hexdigest() == "561986187475670869735c78971e12376b5a69a7607bce676316182a2cf6f110"


def test_drawing_leaves_the_global_random_state_alone() -> None:
    before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()
    draw_scene("trainA", 0)
    assert (np.random.get_state()[1] == before).all()
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_masks_are_where_the_written_test_images_are_warm_colored(tmp_path: Path) -> None:
    write_demo_set(tmp_path, train=1, test=4, seed=3)
    masks = shape_masks("testA", 4, seed=3)
    assert masks.shape == (4, 1, 64, 64)
    assert masks.dtype == torch.bool
    for path, mask in zip(sorted((tmp_path / "testA").iterdir()), masks[:, 0].numpy(), strict=True):
        with Image.open(path) as image:
            pixels = np.asarray(image).astype(int)
        warm = pixels[..., 0] > pixels[..., 2] + 50
        assert warm[mask].all()
        # the soft rim is warm too, but thin
        assert (warm & ~mask).sum() < 0.25 * mask.sum()


def test_every_shape_is_big_and_all_three_kinds_occur() -> None:
    masks = shape_masks("trainA", 30)
    shares = masks.float().mean(dim=(1, 2, 3))
    assert shares.min() > 0.15
    assert shares.max() < 0.5
    rows = masks.any(dim=3).sum(dim=(1, 2))
    columns = masks.any(dim=2).sum(dim=(1, 2))
    filled = masks.sum(dim=(1, 2, 3)) / (rows * columns)  # of the bounding box
    assert filled.min() < 0.6 < 0.75 < filled.max()  # an animal leaves gaps, a box does not


def test_real_striped_images_score_one_and_plain_ones_nothing(
    plain: Tensor, striped: Tensor, masks: Tensor
) -> None:
    assert stripe_score(striped, masks) > 0.98
    assert stripe_score(plain, masks) < 0.01


@pytest.mark.parametrize("size", [32, 128])
def test_score_does_not_depend_on_the_size(size: int) -> None:
    masks = shape_masks("testB", COUNT, size=size)
    assert stripe_score(scenes_as_tensor("testB", "striped", size), masks) > 0.95
    assert stripe_score(scenes_as_tensor("testB", "plain", size), masks) < 0.01


def test_noise_scores_next_to_nothing(masks: Tensor) -> None:
    noise = torch.rand(COUNT, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert stripe_score(noise, masks) < 0.05
    assert stripe_score(noise.sign(), masks) < 0.05


def waves(*, across: float, down: float) -> Tensor:
    """Full-contrast stripes over the whole image, so many periods across and down it."""
    position = torch.arange(64) / 64
    turn = across * position[None, :] + down * position[:, None]
    return torch.sin(2 * torch.pi * turn).expand(COUNT, 3, 64, 64)


@pytest.mark.parametrize(
    ("across", "down"),
    [(0, 1.0), (0.7, 0.7), (0.5, 0), (2.0, 0)],
    ids=["lying", "oblique", "wide", "narrow"],
)
def test_stripes_of_another_direction_or_period_score_low(
    masks: Tensor, across: float, down: float
) -> None:
    asked = waves(across=PERIODS_PER_SIDE, down=0)
    other = waves(across=across * PERIODS_PER_SIDE, down=down * PERIODS_PER_SIDE)
    assert stripe_score(asked, masks) > 0.98
    assert stripe_score(other, masks) < 0.1


def test_stripes_whose_phase_drifts_across_the_shape_still_score_high(masks: Tensor) -> None:
    assert stripe_score(waves(across=PERIODS_PER_SIDE, down=1.0), masks) > 0.7


def test_score_rises_with_the_contrast_of_the_stripes(
    plain: Tensor, striped: Tensor, masks: Tensor
) -> None:
    scores = [stripe_score(plain.lerp(striped, step), masks) for step in (0.0, 0.2, 0.4, 0.6, 0.8)]
    assert scores == sorted(scores)
    assert scores[1] > scores[0] + 0.1
    assert scores[4] > scores[1] + 0.3


def test_score_looks_inside_the_shapes_only(striped: Tensor, masks: Tensor) -> None:
    blanked = torch.where(masks, striped, torch.ones(()))
    assert stripe_score(blanked, masks) == stripe_score(striped, masks)


def test_background_change_is_the_mean_change_around_the_shapes(
    plain: Tensor, striped: Tensor, masks: Tensor
) -> None:
    assert background_change(striped, plain, masks) == 0.0
    # a fifth of the way through a range of 2 is a tenth of the range
    assert background_change(plain + 0.2, plain, masks) == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize("size", [24, 60])
def test_impossible_size_is_refused_before_anything_is_written(tmp_path: Path, size: int) -> None:
    with pytest.raises(ConfigError, match=f"size {size}: use a multiple of 8"):
        write_demo_set(tmp_path / "set", size=size)
    assert not (tmp_path / "set").exists()


def test_empty_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="0 test images"):
        write_demo_set(tmp_path, test=0)


def test_masks_that_do_not_fit_the_images_are_refused(striped: Tensor, masks: Tensor) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        stripe_score(striped[:3], masks)
    with pytest.raises(ValueError, match="empty mask"):
        stripe_score(striped, torch.zeros_like(masks))
    with pytest.raises(ValueError, match="sources"):
        background_change(striped, striped[:, :, :32], masks)
