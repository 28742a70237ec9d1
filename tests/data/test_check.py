from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from gancomp.data.check import check_folder
from gancomp.errors import DataError

MakeImage = Callable[..., Path]


def test_sound_dataset_has_counts_and_no_problem(unpaired_root: Path) -> None:
    calls: list[tuple[int, int]] = []
    report = check_folder(unpaired_root, progress=lambda done, total: calls.append((done, total)))
    assert report.problems == []
    assert report.notes == []
    assert report.task == "unpaired"
    counts = {name: folder.num_images for name, folder in report.folders.items()}
    assert counts == {"trainA": 5, "trainB": 3, "testA": 3, "testB": 2}
    assert report.folders["trainA"].sizes == {"24x24": 5}
    assert report.folders["trainA"].modes == {"RGB": 5}
    assert calls[-1] == (13, 13)
    assert json.loads(json.dumps(report.to_json()))["folders"]["testB"]["num_images"] == 2


def test_files_of_other_kinds_are_noted(unpaired_root: Path) -> None:
    (unpaired_root / "trainA" / "a.heic").touch()
    notes = check_folder(unpaired_root).notes
    assert (
        "trainA/: 1 files are no images by their names and ignored: 1 .heic, e.g. a.heic" in notes
    )


def test_damage_behind_a_sound_header_is_found_and_named(unpaired_root: Path) -> None:
    path = unpaired_root / "testA" / "a1.png"
    path.write_bytes(path.read_bytes()[:200])
    report = check_folder(unpaired_root)
    assert len(report.problems) == 1
    assert str(path) in report.problems[0]
    assert report.folders["testA"].num_unreadable == 1


def test_picture_in_both_train_and_test_is_noted_even_when_stored_otherwise(
    unpaired_root: Path,
) -> None:
    Image.open(unpaired_root / "trainA" / "a3.png").save(unpaired_root / "testA" / "twin.bmp")
    (note,) = check_folder(unpaired_root).notes
    assert "testA/: 1 of 4 pictures are in the training data too" in note
    assert "twin.bmp is trainA/a3.png" in note


def test_grayscale_mixed_sizes_and_repeats_are_notes(
    unpaired_root: Path, make_image: MakeImage
) -> None:
    Image.new("L", (24, 24), 7).save(unpaired_root / "trainA" / "gray.png")
    Image.new("RGB", (24, 24), (8, 8, 8)).save(unpaired_root / "trainA" / "gray_as_rgb.png")
    make_image(unpaired_root / "trainB" / "wide.png", size=(48, 24))
    shutil.copy(unpaired_root / "testB" / "b0.png", unpaired_root / "testB" / "again.png")
    report = check_folder(unpaired_root)
    assert report.problems == []
    assert report.notes == [
        "testB/: 1 pictures occur more than once",
        "trainA/: 2 of 7 have no color",
        "trainB/: 2 different sizes, most often 24x24 (3)",
    ]
    assert report.folders["trainA"].modes == {"RGB": 6, "L": 1}


def test_what_is_read_in_part_or_not_at_all_is_noted(
    unpaired_root: Path, make_image: MakeImage
) -> None:
    train = unpaired_root / "trainA"
    make_image(train / "2026" / "x.png")
    frames = [Image.new("RGB", (24, 24), (shade, 9, 8)) for shade in (1, 90, 200)]
    frames[0].save(train / "moving.gif", save_all=True, append_images=frames[1:])
    Image.new("I;16", (24, 24), 700).save(train / "deep.png")
    Image.new("I;16", (24, 24), 900).save(unpaired_root / "trainB" / "deep.png")
    report = check_folder(unpaired_root)
    notes = "\n".join(report.notes)
    assert f"{train / '2026'}: its images (1) are not read; move them into the folder" in notes
    assert "trainA/: 1 of 7 hold several pictures, of which the first one is read" in notes
    assert (
        "trainA/: 1 of 7 are uint16 and are read as 8-bit RGB; `in_range` 0,65535 keeps them, e.g. "
        "deep.png" in notes
    )
    assert "`out_range` 0,65535 keeps them" in notes
    assert report.problems == []


@pytest.mark.parametrize(
    ("size", "pairs", "hint"),
    [
        ((64, 32), False, "2:1, width to height, .*`size` 256x512 "),
        ((30, 40), False, "3:4, width to height, .*`size` 340x256 "),
        ((40, 60), True, "1:3, width to height, .*`size` 768x256 "),
        ((64, 32), True, None),
        ((600, 2), False, None),
    ],
)
def test_images_that_are_all_wide_or_high_are_told_the_size_that_keeps_their_shape(
    size: tuple[int, int], pairs: bool, hint: str | None, tmp_path: Path, make_image: MakeImage
) -> None:
    names = ("train",) if pairs else ("trainA", "trainB")
    for name in names:
        (tmp_path / name).mkdir()
        make_image(tmp_path / name / f"{name}.png", size=size)
    report = check_folder(tmp_path, "paired" if pairs else "unpaired")
    assert report.problems == []
    found = [note for note in report.notes if "`size`" in note]
    assert len(found) == (hint is not None)
    assert hint is None or re.search(hint, found[0])
    make_image(tmp_path / names[0] / "other.png", size=(48, 48))
    assert not [note for note in check_folder(tmp_path).notes if "`size`" in note]


def test_layout_that_is_not_understood_is_a_problem_and_files_are_still_read(
    unpaired_root: Path,
) -> None:
    shutil.rmtree(unpaired_root / "trainB")
    (unpaired_root / "testA" / "a0.png").write_bytes(b"")
    report = check_folder(unpaired_root)
    assert report.task is None
    assert "no trainB/" in report.problems[0]
    assert "a0.png" in report.problems[1]


def test_problems_of_pairs_are_named(
    side_by_side_root: Path, tmp_path: Path, make_image: MakeImage
) -> None:
    make_image(side_by_side_root / "train" / "odd.png", size=(47, 24))
    (problem,) = check_folder(side_by_side_root).problems
    assert "odd.png: 47 x 24 pixels" in problem
    for side, size in (("A", (24, 24)), ("B", (16, 24))):
        make_image(tmp_path / "two" / f"train{side}" / "0.png", size=size)
    (problem,) = check_folder(tmp_path / "two").problems
    assert "0.png: 24x24 pixels, its partner 0.png has 16x24" in problem


def test_missing_folder_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        check_folder(tmp_path / "gone")


def test_whole_images_for_super_resolution_are_checked_in_the_folder_itself(
    unpaired_root: Path, make_image: MakeImage
) -> None:
    folder = unpaired_root / "trainA"
    make_image(folder / "large.png", size=(120, 100))
    report = check_folder(folder, "super-resolution")
    assert (report.task, report.problems) == ("super-resolution", [])
    assert report.folders["."].num_images == 6
    (note,) = [note for note in report.notes if "training crop" in note]
    assert "./: 5 of 6 are smaller than the usual training crop of 96" in note
    assert "a0.png (24x24)" in note
    (folder / "a1.png").write_bytes(b"")
    (problem,) = check_folder(folder, "super-resolution").problems
    assert "a1.png" in problem


def test_classes_for_synthesis_are_counted_and_checked_as_one(
    tmp_path: Path, make_image: MakeImage
) -> None:
    for name, count in (("zebra", 2), ("ape", 3)):
        for index in range(count):
            make_image(tmp_path / "train" / name / f"{index}.png")
    make_image(tmp_path / "test" / "ape" / "9.png")
    shutil.copy(tmp_path / "train" / "zebra" / "1.png", tmp_path / "train" / "ape" / "twin.png")
    (tmp_path / "train" / "ape" / "1.png").write_bytes(b"")
    report = check_folder(tmp_path, "synthesis")
    assert report.task == "synthesis"
    assert list(report.classes.items()) == [("ape", 3), ("zebra", 2)]
    assert {name: item.num_images for name, item in report.folders.items()} == {
        "train": 6,
        "test": 1,
    }
    (problem,) = report.problems
    assert "ape/1.png" in problem
    assert report.notes == ["train/: 1 pictures occur more than once"]
    assert json.loads(json.dumps(report.to_json()))["classes"] == {"ape": 3, "zebra": 2}


def test_class_folders_without_train_and_plain_folders_are_checked_in_place(
    unpaired_root: Path, tmp_path: Path, make_image: MakeImage
) -> None:
    plain = check_folder(unpaired_root / "trainA", "synthesis")
    assert (plain.problems, plain.notes, plain.classes) == ([], [], {})
    assert plain.folders["."].num_images == 5
    make_image(tmp_path / "zoo" / "ape" / "0.png")
    single = check_folder(tmp_path / "zoo", "synthesis")
    assert single.folders["."].num_images == 1
    assert single.notes == ["ape/: is the only class"]
    (tmp_path / "zoo" / "newt").mkdir()
    partly = check_folder(tmp_path / "zoo", "synthesis")
    assert partly.classes == {"ape": 1}
    assert f"{tmp_path / 'zoo' / 'newt'}: holds no images and is no class" in partly.notes
    assert partly.folders["."].num_images == 1


def test_small_test_images_are_no_trouble_for_super_resolution(
    tmp_path: Path, make_image: MakeImage
) -> None:
    make_image(tmp_path / "train" / "a.png", size=(100, 100))
    make_image(tmp_path / "valid" / "b.png", size=(20, 20))
    report = check_folder(tmp_path, "super-resolution")
    assert (report.problems, report.notes) == ([], [])
    assert list(report.folders) == ["train", "valid"]
