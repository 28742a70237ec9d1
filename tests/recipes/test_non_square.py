"""Images higher or wider than they are not: trained on, continued, translated and scored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import run_command
from PIL import Image
from torch import Tensor, nn

from gancomp.export.native import open_native
from gancomp.recipes import eval_fid as recipe
from gancomp.training import selection

NETS = "--arch mobile-resnet6 --width 4 --d-layers 1 --d-width 4 --perceptual random"
RUN = "--workers 0 --device cpu --sample-every 2"
TRAIN = f"{NETS} {RUN}"


class Means(nn.Module):
    """Stands in for Inception: means of color over a coarse grid."""

    weights_id = "6726825d as if"

    def forward(self, images_01: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images_01, 3).flatten(1)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(recipe, "load_inception", lambda say: Means())


def images(folders: tuple[str, ...], width: int, height: int) -> None:
    """Three pictures a folder of `data`."""
    rng = np.random.default_rng(0)
    for folder in folders:
        (Path("data") / folder).mkdir(parents=True)
        for index in range(3):
            pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(Path("data") / folder / f"{folder}{index}.png")


def doing(capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """Carries out a command line, which must succeed, and returns what it printed."""

    def done(line: str) -> str:
        result = run_command(capsys, *line.split())
        assert result.status == 0, result.err
        return result.out

    return done


UNPAIRED = ("trainA", "trainB", "testA", "testB")
SIDE_BY_SIDE = ("train", "test")


@pytest.mark.slow
def test_a_run_on_wide_images_is_continued_translates_and_is_scored_at_its_size(
    capsys: pytest.CaptureFixture[str],
) -> None:
    images(UNPAIRED, 70, 40)
    done = doing(capsys)
    start = f"distill --dataset data {TRAIN} --size 32x64 --out run"
    done(f"{start} --max-steps 3")
    done(f"{start} --max-steps 6 --resume")
    done(f"{start.replace('run', 'whole')} --max-steps 6")
    data = json.loads(Path("run/config.json").read_text())["settings"]["data"]
    assert (data["size"], data["load_size"]) == ([32, 64], [36, 72])
    assert Path("run/student.safetensors").read_bytes() == (
        Path("whole/student.safetensors").read_bytes()
    )
    # rows of source, teacher and student
    assert Image.open("run/samples/step_00000002.png").size == (3 * 64, 3 * 32)

    done("export run -o student.safetensors")
    network, header = open_native(Path("student.safetensors"))
    assert header["input"]["size"] == [32, 64]
    cost = json.loads(done("profile student.safetensors --json"))["models"][0]
    assert cost["input"] == [1, 3, 32, 64]
    score = json.loads(done("eval-fid run --dataset data --json"))
    assert "bicubic to 32x64 (height x width)," in score["protocol"]["fakes"]
    other = json.loads(done("eval-fid run --dataset data --size 64x32 --json"))
    assert other["fid"] != score["fid"]
    done("translate run data/testA -o out --size 32x64")
    assert {Image.open(path).size for path in Path("out").iterdir()} == {(64, 32)}


@pytest.mark.parametrize(
    ("shape", "network", "size"),
    [((64, 64), "mobile-resnet6", (64, 32)), ((60, 90), "unet128", (256, 128))],
)
@pytest.mark.slow
def test_pairs_of_portraits_are_trained_on_with_what_fits_both_sides(
    shape: tuple[int, int],
    network: str,
    size: tuple[int, int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    images(SIDE_BY_SIDE, *shape)
    done, (height, width) = doing(capsys), size
    done(
        f"distill --dataset data --task paired --size {height}x{width} --arch {network} --width 4 "
        f"--d-width 4 --d-layers 1 --perceptual random --max-steps 2 --out run {RUN}"
    )
    assert Image.open("run/samples/step_00000002.png").size == (3 * width, 3 * height)
    for role in ("teacher", "student"):
        _, header = open_native(Path(f"run/{role}.safetensors"))
        assert header["input"]["size"] == list(size)
    score = json.loads(done("eval-fid run --dataset data --json"))
    assert f"bicubic to {height}x{width} (height x width)," in score["protocol"]["fakes"]


def test_a_square_size_is_recorded_as_one_number_however_it_is_typed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    images(UNPAIRED, 40, 40)
    done = doing(capsys)
    for out, size in (("one", "32"), ("two", "32x32")):
        done(
            f"pretrain --dataset data {TRAIN} --size {size} --max-steps 1 --out {out}".replace(
                "--perceptual random ", ""
            )
        )
    one, two = (json.loads(Path(out, "config.json").read_text()) for out in ("one", "two"))
    assert one["settings"] == two["settings"]
    assert (one["settings"]["data"]["size"], one["settings"]["data"]["load_size"]) == (32, 36)
    one, two = (Path(out, "teacher.safetensors").read_bytes() for out in ("one", "two"))
    assert one == two


@pytest.mark.slow
def test_deep_images_need_not_be_square_and_a_student_is_chosen_at_their_size(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "load_inception", lambda say: Means())
    for number, folder in enumerate(UNPAIRED):
        (Path("data") / folder).mkdir(parents=True)
        for index in range(4):
            raw = np.random.default_rng(4 * number + index).random((20, 50, 1), np.float32)
            np.save(Path("data") / folder / f"{folder}{index}.npy", raw)
    done = doing(capsys)
    done(
        f"distill --dataset data {TRAIN} --in-range 0,1 --out-range 0,1 --size 16x48 "
        "--load-size 16x56 --select held-out --held-out 2 --eval-every 1 --max-steps 2 --out run"
    )
    assert len(json.loads(Path("run/selection.json").read_text())["history"]) == 2
    done("translate run data/testA -o out --size 16x48")
    assert {np.load(path).shape for path in Path("out").iterdir()} == {(16, 48)}
