"""Training for super-resolution on what real folders of photographs hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import run_command
from PIL import Image

from gancomp.export.model import open_model

TRAIN = (
    "--task super-resolution --width 2 --blocks 1 --objective pixel --size 32 --batch-size 4 "
    "--max-steps 3 --workers 0 --device cpu"
)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Grayscale, alpha, 16 bits, a palette and CMYK; one pixel, too small and no image at all."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (41, 38, 3), dtype=np.uint8)
    color = Image.fromarray(pixels)
    for mode in ("L", "RGBA", "P"):
        color.convert(mode).save(folder / f"{mode}.png")
    color.convert("CMYK").save(folder / "CMYK.jpg")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(folder / "bits16.png")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    color.crop((0, 0, 38, 31)).save(folder / "low.png")
    (folder / "bad.png").write_bytes(b"no image")
    return folder


def test_all_usable_photographs_are_trained_on_and_the_others_named(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run_command(
        capsys, "pretrain", "--dataset", photos, *TRAIN.split(), "--out", "run", "--json"
    )
    assert outcome.status == 0, outcome.err
    for name, reason in [
        ("dot.png", "1x1 pixels"),
        ("low.png", "36x28 pixels"),
        ("bad.png", "no format that is read"),
    ]:
        lines = [line for line in outcome.err.splitlines() if name in line]
        assert len(lines) == 1, "named once"
        assert reason in lines[0]
    network = open_model(Path(outcome.document["teacher"])).network
    assert network.scale == 4
    scored = run_command(capsys, "eval-sr", "run", "--dataset", photos, "--json").document
    assert scored["protocol"]["num_images"] == 6  # what is too small to train on can be scored
    assert scored["protocol"]["step"] == 3


def test_strict_stops_at_the_first_unusable_photograph(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "bad.png").unlink()
    arguments = ["pretrain", "--dataset", photos, *TRAIN.split(), "--strict"]
    outcome = run_command(capsys, *arguments, "--out", "run")
    assert outcome.status == 2
    error = outcome.err.splitlines()[-1]
    assert error.startswith("error: ")
    assert "dot.png" in error or "low.png" in error
    assert "larger image" in error


def test_a_folder_is_checked_for_super_resolution(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["data", "check", photos, "--task", "super-resolution", "--json"]
    outcome = run_command(capsys, *arguments)
    report = outcome.document
    assert (outcome.status, report["task"]) == (2, "super-resolution")
    (problem,) = report["problems"]
    assert "bad.png" in problem
    assert any("7 of 8 are smaller than the usual training crop" in n for n in report["notes"])
    assert report["folders"]["."]["num_grayscale"] == 3
