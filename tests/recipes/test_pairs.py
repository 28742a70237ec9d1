"""`gancomp eval --pairs`: what is compared with what, for each kind of data; what is refused."""

from __future__ import annotations

import importlib.util
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import run_command, saved_scores, write_model, write_scored
from PIL import Image
from torch import Tensor, nn

import gancomp
from gancomp.data.degrade import downscale
from gancomp.data.super_resolution import load_high_resolution
from gancomp.data.transforms import to_uint8
from gancomp.domains.translation import contest, pairs
from gancomp.errors import ConfigError
from gancomp.export.model import open_model
from gancomp.inference import sampling
from gancomp.inference.enlarge import enlarge
from gancomp.metrics.image_quality import psnr, ssim
from gancomp.networks.accelerate import accelerate
from gancomp.networks.inference import run_generator
from gancomp.recipes import eval_fid

STYLE = {"style_channels": 8, "mapping_layers": 1, "const_channels": 8, "resolution": 16}


class Means(nn.Module):
    """Stands in for Inception: means of color over a coarse grid."""

    weights_id = "6726825d as if"

    def forward(self, images_01: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images_01, 3).flatten(1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, datasets of three kinds, and models; nothing is changed in it."""
    folder = tmp_path_factory.mktemp("pairs")
    write_scored(folder, train=2, test=3, style=STYLE)
    entries: dict[str, Any] = {"task": "super-resolution", "settings": {"blocks": 1}}
    write_model(folder / "sr.safetensors", "srresnet", dataset="data/testA", **entries)
    write_model(folder / "sr8.safetensors", "srresnet", 8, **entries)
    two = entries | {"settings": {"blocks": 1, "scale": 2}}
    write_model(folder / "sr2.safetensors", "srresnet", **two)
    other = {"task": "synthesis", "settings": STYLE | {"style_channels": 4}}
    write_model(folder / "other.safetensors", "stylegan2", 4, **other)
    return folder


@pytest.fixture(autouse=True)
def there(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)
    monkeypatch.setenv("XDG_CACHE_HOME", str(made / "cache"))
    monkeypatch.setattr(eval_fid, "load_inception", lambda say: Means())


def score(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    outcome = run_command(capsys, "eval", *arguments, "--device", "cpu", "--json")
    assert outcome.status == 0, outcome.err
    return outcome.document


def pixels(file: Path) -> Any:
    return np.array(Image.open(file).convert("RGB"))


def translated(model: str, file: Path) -> Any:
    source = torch.from_numpy(pixels(file)).permute(2, 0, 1)[None] / 127.5 - 1
    return to_uint8(run_generator(accelerate(open_model(Path(model)).network), source))[0]


def means(pairs: list[tuple[Any, Any]]) -> list[float]:
    both = [[item.astype(np.float64) for item in pair] for pair in pairs]
    return [float(np.mean([of(*pair) for pair in both])) for of in (psnr, ssim)]


def test_a_run_s_student_is_compared_with_targets_and_with_its_teacher(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = score(capsys, "run", "--pairs", "targets")
    sources = sorted(Path("paired/testA").iterdir())
    made = [translated("run/student.safetensors", file) for file in sources]
    wanted = means(
        list(zip(made, map(pixels, sorted(Path("paired/testB").iterdir())), strict=True))
    )
    assert [number["value"] for number in found["metrics"].values()] == pytest.approx(wanted)
    assert list(found["metrics"]) == ["psnr", "ssim"]
    assert (found["n_fake"], found["n_real"], found["weights"]) == (3, 3, None)
    told = found["protocol"]["pairs"]
    assert (told["num"], told["task"], told["step"]) == (3, "paired", 1)
    assert told["options"]["psnr"]["of"].startswith("8-bit RGB")

    found = score(capsys, "run", "--pairs", "teacher", "--bootstrap", 20)
    taught = [translated("run/teacher.safetensors", file) for file in sources]
    values = [number["value"] for number in found["metrics"].values()]
    assert values == pytest.approx(means(list(zip(made, taught, strict=True))))
    assert all(item["low"] <= item["value"] <= item["high"] for item in found["metrics"].values())
    assert found["protocol"]["pairs"]["reference"] == str(Path("run/teacher.safetensors"))
    assert len(saved_scores(Path("run"))) == 2


def test_scores_of_sets_and_of_pairs_come_together(capsys: pytest.CaptureFixture[str]) -> None:
    typed = ("lone.safetensors", "--metrics", "ssim,fid,psnr", "--pairs", "run/student.safetensors")
    found = score(capsys, *typed)
    assert found["metrics"].keys() == {"fid", "ssim", "psnr"}
    assert (found["n_real"], found["weights"]) == (5, "6726825d as if")
    assert found["protocol"]["pairs"]["num"] == 3
    assert "features" in found["protocol"]


@pytest.mark.parametrize(
    ("model", "other", "more"),
    [
        ("lone.safetensors", "run/student.safetensors", ["--fake-split", "all"]),
        ("style.safetensors", "style4.safetensors", ["--num", 3, "--real", "data/testB"]),
    ],
)
def test_with_both_each_image_is_made_once_and_the_scores_are_those_of_each_alone(
    model: str,
    other: str,
    more: list[object],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passes = dict.fromkeys(("contest", "pairs", "noise"), 0)

    def counted(name: str, made: Any) -> Any:
        def count(*given: Any, **named: Any) -> Any:
            passes[name] += 1
            return made(*given, **named)

        return count

    for name, module in (("contest", contest), ("pairs", pairs)):
        monkeypatch.setattr(module, "run_generator", counted(name, module.run_generator))
    monkeypatch.setattr(sampling, "_run", counted("noise", sampling._run))
    alone = [
        score(capsys, model, "--metrics", "fid,kid", *more, "--kid-subset-size", 2),
        score(capsys, model, "--pairs", other, *more[: 2 * (model[0] == "s")]),
    ]
    passes = dict.fromkeys(passes, 0)
    typed = (model, "--metrics", "psnr,fid,ssim,kid", "--pairs", other, *more)
    both = score(capsys, *typed, "--kid-subset-size", 2)
    assert both["metrics"] == alone[0]["metrics"] | alone[1]["metrics"]
    assert both["n_fake"] == alone[0]["n_fake"]
    assert both["protocol"]["pairs"] == alone[1]["protocol"]["pairs"]
    # of 5 sources 2 are translated for FID alone, 3 by both models; from noise a batch of either
    wanted = {"contest": 0, "pairs": 8, "noise": 0} if model[0] == "l" else {"noise": 2}
    assert {name: number for name, number in passes.items() if name in wanted} == wanted


def test_an_unreadable_target_takes_no_image_from_fid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree("paired", tmp_path / "paired")
    broken = tmp_path / "paired" / "testB" / "1.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) - 60])
    typed = ("run", "--metrics", "fid,psnr", "--pairs", "targets", "--dataset", broken.parents[1])
    found = score(capsys, *typed)
    assert (found["n_fake"], found["n_real"], found["skipped"]) == (3, 2, 1)
    assert (found["protocol"]["pairs"]["num"], found["protocol"]["pairs"]["skipped"]) == (2, 1)
    outcome = run_command(capsys, "eval", *typed, "--device", "cpu", "--strict")
    assert outcome.status == 2
    assert str(broken) in outcome.err


def test_a_model_beside_itself_is_equal(capsys: pytest.CaptureFixture[str]) -> None:
    typed = ("run", "--pairs", "run/student.safetensors")
    found = score(capsys, *typed)
    assert found["metrics"]["psnr"]["value"] is None
    assert found["metrics"]["ssim"]["value"] == pytest.approx(1)
    shown = run_command(capsys, "eval", *typed, "--device", "cpu").out
    assert "equal images" in shown


def test_side_by_side_files_hold_both_images_of_a_pair(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "val"):
        (tmp_path / "sides" / split).mkdir(parents=True)
        both = [pixels(Path(f"paired/test{side}/0.png")) for side in "AB"]
        Image.fromarray(np.concatenate(both, axis=1)).save(tmp_path / "sides" / split / "0.png")
    typed = ("run", "--pairs", "targets", "--dataset", tmp_path / "sides")
    found = score(capsys, *typed)
    made = translated("run/student.safetensors", Path("paired/testA/0.png"))
    assert [item["value"] for item in found["metrics"].values()] == pytest.approx(
        means([(made, both[1])])
    )


def test_enlarged_images_are_compared_with_originals_and_with_a_teacher_s(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = score(capsys, "sr.safetensors", "--pairs", "targets")
    originals = [load_high_resolution(file, 4) for file in sorted(Path("data/testA").iterdir())]
    network = open_model(Path("sr.safetensors")).network
    made = [enlarge(network, downscale(original, 4)) for original in originals]
    values = [number["value"] for number in found["metrics"].values()]
    assert values == pytest.approx(means(list(zip(made, originals, strict=True))))
    beside = score(capsys, "sr.safetensors", "--pairs", "sr8.safetensors")
    assert beside["protocol"]["pairs"]["reference"] == "sr8.safetensors"
    assert math.isfinite(beside["metrics"]["psnr"]["value"])


def test_images_from_noise_are_compared_with_a_teacher_s_of_the_same_noise(
    capsys: pytest.CaptureFixture[str],
) -> None:
    typed = ("style.safetensors", "--num", 3, "--seed", 5, "--pairs")
    found = score(capsys, *typed, "style4.safetensors")
    assert found["protocol"]["pairs"]["num"] == 3
    assert found["protocol"]["pairs"]["seed"] == 5
    assert math.isfinite(found["metrics"]["psnr"]["value"])
    assert score(capsys, *typed, "style.safetensors")["metrics"]["psnr"]["value"] is None


def test_files_of_equal_names_in_two_folders_are_pairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree("paired/testA", tmp_path / "A")
    (tmp_path / "A" / "2.png").rename(tmp_path / "A" / "alone.png")
    typed = ("--fake", tmp_path / "A", "--real", "paired/testB", "--pairs", "files")
    outcome = run_command(capsys, "eval", *typed, "--json")
    assert "warning: --pairs files: 2 files have no counterpart" in outcome.err
    found = outcome.document
    wanted = means([tuple(pixels(Path(f"paired/test{s}/{n}.png")) for s in "AB") for n in (0, 1)])  # type: ignore[misc]
    assert [item["value"] for item in found["metrics"].values()] == pytest.approx(wanted)
    assert found["protocol"]["pairs"]["unmatched"] == 2


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("run --metrics psnr", "--metrics psnr: compares pairs of images; add --pairs targets, te"),
        ("run --metrics fid --pairs teacher", "--pairs teacher: add --metrics psnr,ssim,lpips"),
        ("run --pairs teachr", "--pairs teachr: no such model or run; give targets, teacher, fil"),
        ("lone.safetensors --pairs teacher", "lies in no run with a teacher.safetensors; give"),
        ("run/teacher.safetensors --pairs teacher --dataset paired", "is the teacher itself"),
        ("lone.safetensors --pairs targets", "data is unpaired, its images have no targets"),
        ("style.safetensors --pairs targets", "out of noise, which have no targets; --pairs tea"),
        ("style.safetensors --pairs other.safetensors", "takes other noise than style.safetensor"),
        ("style.safetensors --pairs run", "student.safetensors keeps their size, style.safeten"),
        ("sr.safetensors --pairs sr2.safetensors", "enlarges 2 times, sr.safetensors 4 times"),
        ("sr.safetensors --pairs targets --size 8", "--size: has no effect on sr.safetensors"),
        ("run --pairs files", "--pairs files: compares two folders, --fake and --real"),
        ("--fake data/testA --real data/testB --pairs targets", "use --pairs files, which compa"),
        ("--fake data/testA --real data --pairs files", "--real data: of the images that FID co"),
        ("--fake data/testA --real data/testB --pairs files", "has the name of one in data/testB"),
        ("run --pairs targets --real data/testB", "--real: has no effect on pairs; remove it, or"),
        ("run --pairs targets --save-stats x.npz", "--save-stats: has no effect on pairs"),
        ("run --pairs teacher --out-range 0,1", "--out-range: has no effect on images of a model"),
        ("run --pairs targets --metrics kid,psnr --kid-subset-size 9", "there are 3 generated"),
        ("run --pairs targets --bootstrap 2", "--bootstrap 2: use at least 20 resamples"),
    ],
)
def test_mistakes_are_one_line(typed: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(capsys, "eval", *typed.split(), "--device", "cpu")
    assert outcome.status == 2
    assert said in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_lpips_without_its_package_or_weights_is_one_line_and_nothing_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = ("eval", "run", "--pairs", "targets", "--metrics", "fid,lpips", "--device", "cpu")
    absent = ("--lpips-weights", tmp_path / "no.pth")
    if importlib.util.find_spec("lpips") is not None:
        outcome = run_command(capsys, *typed, *absent)
        assert outcome.status == 2
        assert f"error: --lpips-weights {tmp_path / 'no.pth'}: no such file; give torch" in (
            outcome.err
        )
    monkeypatch.setitem(sys.modules, "lpips", None)
    outcome = run_command(capsys, *typed)
    assert outcome.status == 2
    assert outcome.err == (
        'error: --metrics lpips: needs the package lpips; pip install "gancomp[lpips]"\n'
    )
    outcome = run_command(capsys, "eval", "run", "--metrics", "fid", "--lpips-net", "vgg")
    assert "options of lpips were given; add it or remove" in outcome.err


def test_images_of_two_sizes_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, size in (("a", 20), ("b", 24), ("c", 20)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (size, size)).save(tmp_path / name / "0.png")
    typed = ("eval", "--pairs", "files", "--fake", tmp_path / "a", "--real")
    outcome = run_command(capsys, *typed, tmp_path / "b")
    assert outcome.status == 2
    assert "20x20 against 24x24 pixels; bring them to one size first" in outcome.err
    Image.new("RGB", (8, 8)).save(tmp_path / "a" / "0.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "c" / "0.png")
    outcome = run_command(capsys, *typed, tmp_path / "c")
    assert outcome.status == 2
    assert "8x8 pixels are too few for SSIM; at least 11x11" in outcome.err


def test_the_same_from_python() -> None:
    found = gancomp.evaluate("run", pairs=Path("run/teacher.safetensors"), device="cpu")
    assert found["metrics"].keys() == {"psnr", "ssim"}
    with pytest.raises(ConfigError, match="`pairs` teachr: no such model") as caught:
        gancomp.evaluate("run", pairs="teachr", device="cpu")
    assert caught.value.field == "pairs"
