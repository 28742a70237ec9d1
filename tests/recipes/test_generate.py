"""`gancomp generate`: which files it writes, and that each image has a name for good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import contents, run_command, write_model
from PIL import Image

from gancomp.data.transforms import to_nearest_uint8
from gancomp.export.model import open_model
from gancomp.inference.sampling import Recipe, sampled
from gancomp.recipes import generate as recipe

STYLEGAN2 = {"resolution": 16, "style_channels": 8, "mapping_layers": 2, "const_channels": 8}
BIGGAN = {"resolution": 32, "num_classes": 5}


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(Path("style.safetensors"), "stylegan2", 8, task="synthesis", settings=STYLEGAN2)
    write_model(Path("big.safetensors"), "biggan", 2, task="synthesis", settings=BIGGAN)


def network_in(path: str) -> Any:
    return open_model(path).network


def pixels(path: Path | str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(path))


@pytest.mark.parametrize(("model", "size"), [("style", 16), ("big", 32)])
def test_every_image_is_a_file_and_the_grid_shows_them_all(
    model: str, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["generate", f"{model}.safetensors", "-n", 5, "--seed", 7, "-o", "new", "--json"]
    outcome = run_command(capsys, *typed)
    assert (outcome.status, outcome.err) == (0, "")
    names = [f"new/seed7_{index:05d}.png" for index in range(5)]
    assert outcome.document == {
        "written": names,
        "grid": "new/grid.png",
        "seed": 7,
        "truncation": None,
        "classes": None,
    }
    assert {str(path) for path in Path("new").iterdir()} == {*names, "new/grid.png"}
    network = network_in(f"{model}.safetensors")
    (images,) = sampled(network, 5, Recipe(7), batch_size=5)
    shown = pixels("new/grid.png")
    assert shown.shape == (2 * size, 3 * size, 3)
    for index, expected in enumerate(to_nearest_uint8(images)):
        found = pixels(names[index])
        row, column = divmod(index, 3)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(
            found, shown[row * size : (row + 1) * size, column * size : (column + 1) * size]
        )


def test_fewer_images_are_the_first_of_many_whatever_the_batch_size(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for out, more in (("many", ["-n", 9]), ("few", ["-n", 4, "--batch-size", 3])):
        typed = ["generate", "style.safetensors", "-o", out, "--no-grid", *more]
        assert run_command(capsys, *typed).status == 0
    assert sorted(path.name for path in Path("few").iterdir()) == [
        f"seed0_{index:05d}.png" for index in range(4)
    ]
    for path in Path("few").iterdir():
        difference = pixels(path).astype(int) - pixels(Path("many") / path.name)
        assert np.abs(difference).max() <= 1  # a value next to a half may be rounded either way
        assert (difference != 0).mean() < 1e-2


def test_images_of_other_seeds_are_left_alone_and_equal_settings_give_equal_bytes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    typed = ["generate", "style.safetensors", "-n", 2, "-o", "new", "--seed"]
    run_command(capsys, *typed, 1)
    before = contents(Path("new"))
    run_command(capsys, *typed, 1)
    assert contents(Path("new")) == before
    run_command(capsys, *typed, 2, "--no-grid")
    after = contents(Path("new"))
    assert after.items() >= before.items()
    assert after.keys() - before.keys() == {"seed2_00000.png", "seed2_00001.png"}


def test_classes_and_truncation_are_obeyed_and_reported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    typed = ["generate", "big.safetensors", "-n", 3, "-o"]
    more = ["--classes", "3,0", "--truncation", 0.5, "--json"]
    document = run_command(capsys, *typed, "new", *more).document
    assert (document["classes"], document["truncation"]) == ([3, 0], 0.5)
    network = network_in("big.safetensors")
    expected = sampled(network, 3, Recipe(0, 0.5, (3, 0)), batch_size=3)
    for found, image in zip(document["written"], to_nearest_uint8(next(expected)), strict=True):
        np.testing.assert_array_equal(pixels(found), image)


def test_a_grid_of_very_many_shows_the_first_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "MOST_IN_GRID", 4)
    monkeypatch.setattr(recipe, "TOLD_EVERY", 3)
    outcome = run_command(capsys, "generate", "style.safetensors", "-n", 7, "-o", "new")
    assert pixels("new/grid.png").shape == (32, 32, 3)
    assert outcome.out == ""
    assert outcome.err.splitlines()[-1] == "7 written to new, together in new/grid.png"


def test_a_run_s_student_makes_the_images_else_its_teacher(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = {"task": "synthesis", "settings": STYLEGAN2}
    write_model(Path("run/teacher.safetensors"), "stylegan2", 8, role="teacher", **options)
    for out in ("teacher", "student"):
        assert run_command(capsys, "generate", "run", "-n", 1, "-o", out).status == 0
        write_model(Path("run/student.safetensors"), "stylegan2", 4, **options)
    network = network_in("run/student.safetensors")
    (images,) = sampled(network, 1, Recipe(0), batch_size=1)
    np.testing.assert_array_equal(pixels("student/seed0_00000.png"), to_nearest_uint8(images)[0])
    assert (pixels("teacher/seed0_00000.png") != pixels("student/seed0_00000.png")).any()


def test_checkpoints_of_others_make_images(capsys: pytest.CaptureFixture[str]) -> None:
    style, big = (network_in(f"{name}.safetensors") for name in ("style", "big"))
    torch.save({"g_ema": style.state_dict()}, "550000.pt")
    Path("biggan").mkdir()
    torch.save(big.state_dict(), "biggan/G_ema.pth")
    for theirs, ours in (("550000.pt", "style"), ("biggan", "big")):
        for model, out in ((theirs, "theirs"), (f"{ours}.safetensors", "ours")):
            outcome = run_command(capsys, "generate", model, "-n", 2, "-o", out)
            assert outcome.status == 0, outcome.err
        np.testing.assert_array_equal(
            pixels("theirs/seed0_00001.png"), pixels("ours/seed0_00001.png")
        )


@pytest.mark.parametrize(
    ("typed", "named", "way_out"),
    [
        ("style.safetensors -n 0", "-n 0", "at least 1"),
        ("style.safetensors --seed -1", "--seed -1", "from 0"),
        ("style.safetensors --batch-size 0", "--batch-size 0", "at least 1"),
        ("style.safetensors --truncation 0", "--truncation 0", "remove it"),
        ("style.safetensors --classes 0", "--classes 0", "knows no classes"),
        ("big.safetensors --classes 5", "--classes 5", "from 0 to 4"),
        ("big.safetensors --classes cat", "--classes cat", "0,3"),
        ("big.safetensors --classes -1", "--classes -1", "from 0 to 4"),
        ("plain.safetensors", "plain.safetensors", "gancomp translate"),
        ("judge.safetensors", "judge.safetensors", "give a generator"),
        ("style.safetensors --part g_ema", "g_ema", "remove it"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_nothing_is_written(
    typed: str, named: str, way_out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(Path("plain.safetensors"), width=2)
    judge = {"resolution": 16}
    write_model(Path("judge.safetensors"), "stylegan2-discriminator", 8, settings=judge)
    before = contents(Path())
    outcome = run_command(capsys, "generate", *typed.split(), "-o", "new")
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.count("\n") == 1
    assert named in outcome.err
    assert way_out in outcome.err
    assert contents(Path()) == before


@pytest.mark.parametrize("command", ["translate", "eval-sr"])
def test_commands_for_images_send_to_generate(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("in").mkdir()
    Image.new("RGB", (16, 16)).save("in/0.png")
    more = ["in", "-o", "new"] if command == "translate" else ["--dataset", "in"]
    outcome = run_command(capsys, command, "style.safetensors", *more)
    assert outcome.status == 2
    assert "gancomp generate" in outcome.err
    assert not Path("new").exists()
