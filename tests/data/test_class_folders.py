"""Folders of images, and of class folders, for synthesis."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gancomp.data.layout import scan
from gancomp.errors import ConfigError, DataError

MakeImage = Callable[..., Path]


def refuse_warning(message: str) -> None:
    raise AssertionError(f"unexpected warning: {message}")


def names(paths: tuple[Path, ...]) -> list[str]:
    return [f"{path.parent.name}/{path.name}" for path in paths]


@pytest.fixture
def zoo(tmp_path: Path, make_image: MakeImage) -> Path:
    """Two classes of 3 and 2 images."""
    for name, count in (("zebra", 2), ("ape", 3)):
        for index in range(count):
            make_image(tmp_path / "zoo" / name / f"{index}.png")
    return tmp_path / "zoo"


def test_a_folder_of_images_is_for_synthesis_without_classes(unpaired_root: Path) -> None:
    (unpaired_root / "trainA" / "notes").mkdir()
    files = scan(unpaired_root / "trainA", task="synthesis", say=refuse_warning)
    assert (files.name, files.task, files.test, files.classes) == (
        "trainA",
        "synthesis",
        None,
        (),
    )
    assert len(files.train.target) == 5
    assert files.train.labels is None


def test_class_folders_are_labeled_in_the_order_of_their_names(zoo: Path) -> None:
    (zoo / ".cache").mkdir()
    files = scan(zoo, task="synthesis", say=refuse_warning)
    assert files.classes == ("ape", "zebra")
    assert files.train.labels == (0, 0, 0, 1, 1)
    assert names(files.train.target) == [
        "ape/0.png",
        "ape/1.png",
        "ape/2.png",
        "zebra/0.png",
        "zebra/1.png",
    ]
    assert files.train.source == files.train.target


@pytest.mark.parametrize("test", ["test", "valid", "val"])
@pytest.mark.parametrize("classes", [False, True])
def test_train_and_test_may_hold_images_or_class_folders(
    test: str, classes: bool, tmp_path: Path, make_image: MakeImage
) -> None:
    inside = ("b", "a", "c") if classes else (".",)
    for index, name in enumerate(inside):
        make_image(tmp_path / "train" / name / f"{index}.png")
    make_image(tmp_path / test / inside[0] / "9.png")
    files = scan(tmp_path, task="synthesis", say=refuse_warning)
    assert files.test is not None
    assert files.classes == (("a", "b", "c") if classes else ())
    assert files.train.labels == ((0, 1, 2) if classes else None)
    assert files.test.labels == ((1,) if classes else None)  # b is class 1 of the training images
    assert len(files.test.target) == 1


def test_test_images_without_classes_and_classes_without_training_classes_have_no_labels(
    tmp_path: Path, make_image: MakeImage
) -> None:
    make_image(tmp_path / "one" / "train" / "a" / "0.png")
    make_image(tmp_path / "one" / "test" / "0.png")
    make_image(tmp_path / "two" / "train" / "0.png")
    make_image(tmp_path / "two" / "test" / "a" / "0.png")
    for name, classes in (("one", ("a",)), ("two", ())):
        files = scan(tmp_path / name, task="synthesis", say=refuse_warning)
        assert files.classes == classes
        assert files.test is not None
        assert files.test.labels is None
        assert len(files.test.target) == 1


def test_a_test_class_that_training_does_not_have_is_refused(
    zoo: Path, tmp_path: Path, make_image: MakeImage
) -> None:
    zoo.rename(tmp_path / "train")
    make_image(tmp_path / "test" / "newt" / "0.png")
    with pytest.raises(DataError, match="the class newt/ is none of the 2 of the training"):
        scan(tmp_path, task="synthesis")


def test_images_beside_class_folders_are_refused(zoo: Path, make_image: MakeImage) -> None:
    make_image(zoo / "loose.png")
    with pytest.raises(DataError, match=r"holds 1 images beside class folders \(ape/"):
        scan(zoo, task="synthesis")


def test_a_class_folder_without_images_and_folders_of_others_are_no_classes(zoo: Path) -> None:
    for name in ("newt", "__MACOSX", "@eaDir"):
        (zoo / name).mkdir()
    (zoo / "@eaDir" / "thumbnail.jpg").touch()
    said: list[str] = []
    assert scan(zoo, task="synthesis", say=said.append).classes == ("ape", "zebra")
    assert said == [f"{zoo / 'newt'}: holds no images and is skipped; it is no class"]


def test_a_single_class_folder_is_one_class(zoo: Path) -> None:
    shutil.rmtree(zoo / "ape")
    files = scan(zoo, task="synthesis", say=refuse_warning)
    assert (files.classes, files.train.labels) == (("zebra",), (0, 0))


def test_unreadable_files_of_a_class_are_skipped_with_their_labels(zoo: Path) -> None:
    (zoo / "ape" / "1.png").write_bytes(b"")
    warnings: list[str] = []
    files = scan(zoo, task="synthesis", say=warnings.append)
    assert files.train.labels == (0, 0, 1, 1)
    assert names(files.skipped) == ["ape/1.png"]
    assert "ape: skipped 1 of 3 files" in warnings[0]
    with pytest.raises(DataError, match=r"ape/1\.png"):
        scan(zoo, task="synthesis", strict=True)
    for index in range(2):
        (zoo / "zebra" / f"{index}.png").write_bytes(b"")
    with pytest.raises(DataError, match="zebra: none of 2 files is usable"):
        scan(zoo, task="synthesis", say=warnings.append)


def test_a_set_for_translation_is_no_set_of_classes(unpaired_root: Path) -> None:
    with pytest.raises(DataError, match=r"`task` synthesis give a folder .* such as \S+/trainA"):
        scan(unpaired_root, task="synthesis")


def test_a_class_called_train_is_not_taken_for_the_training_images(
    zoo: Path, make_image: MakeImage
) -> None:
    make_image(zoo / "train" / "0.png")
    with pytest.raises(DataError, match=r"holds train/ and ape/; if they are classes, move all"):
        scan(zoo, task="synthesis")


def test_a_folder_without_images_has_a_way_out_for_synthesis(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match="has no images; found neither .*gancomp demo"):
        scan(tmp_path / "bare", task="synthesis")


def test_synthesis_has_no_direction(zoo: Path) -> None:
    with pytest.raises(ConfigError, match="`direction` BtoA: .*from noise to images"):
        scan(zoo, task="synthesis", direction="BtoA")


def test_moving_an_image_to_another_class_changes_the_fingerprint(zoo: Path) -> None:
    first = scan(zoo, task="synthesis").fingerprint()
    (zoo / "ape" / "2.png").rename(zoo / "zebra" / "2.png")
    second = scan(zoo, task="synthesis").fingerprint()
    assert first["counts"] == second["counts"] == {"train_source": 5, "train_target": 5}
    assert first["sha256"] != second["sha256"]


def test_folders_that_may_be_classes_get_the_task_proposed(zoo: Path) -> None:
    with pytest.raises(DataError, match="If ape/, zebra/ are classes .*`task` synthesis"):
        scan(zoo)
