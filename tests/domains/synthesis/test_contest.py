"""`gancomp eval-fid` for images generated from noise: what is compared, recorded and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import run_command, saved_scores, write_model
from PIL import Image
from torch import Tensor, nn

from gancomp.data.transforms import to_nearest_uint8
from gancomp.export.model import open_model
from gancomp.inference.sampling import Recipe, sampled
from gancomp.metrics.fid import fid_from_features, statistics_of
from gancomp.metrics.statistics_files import load_statistics
from gancomp.recipes import eval_fid as recipe
from gancomp.scoring import measuring

STYLEGAN2 = {"resolution": 16, "style_channels": 8, "mapping_layers": 2, "const_channels": 8}
MODEL = "model.safetensors"


class Means(nn.Module):
    """Stands in for Inception: means of color over a coarse grid."""

    weights_id = "6726825d as if"

    def forward(self, images_01: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images_01, 3).flatten(1)


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Five photographs of several sizes in two classes, a model, and no real Inception."""
    monkeypatch.setattr(recipe, "load_inception", lambda say: Means())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for index in range(5):
        path = Path("photos") / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (20 + 3 * index, 26, 3)
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(path)
    write(Path(MODEL), dataset="photos")


def write(path: Path, **entries: Any) -> Path:
    return write_model(path, "stylegan2", 8, task="synthesis", settings=STYLEGAN2, **entries)


def features(images: list[Any]) -> Any:
    rows = []
    for image in images:
        image_01 = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
        rows.append(
            Means()(nn.functional.interpolate(image_01, size=(299, 299), mode="bilinear")).numpy()
        )
    return np.concatenate(rows)


def fakes(count: int, seed: int = 0, truncation: float | None = None) -> list[Any]:
    network: Any = open_model(MODEL).network
    batches = sampled(network, count, Recipe(seed, truncation), batch_size=count)
    return list(to_nearest_uint8(torch.cat(list(batches))))


def reals(*, mirrored: bool = False) -> list[Any]:
    found = []
    for path in sorted(Path("photos").rglob("*.png")):
        image = Image.open(path)
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
        found.append(np.asarray(image.resize((16, 16), Image.Resampling.LANCZOS)))
    return found + [image[:, ::-1] for image in found] if mirrored else found


def score(capsys: pytest.CaptureFixture[str], *typed: object) -> Any:
    outcome = run_command(capsys, "eval-fid", *typed, "--device", "cpu", "--json")
    assert outcome.status == 0, outcome.err
    return outcome.document


@pytest.mark.parametrize("mirrored", [False, True])
def test_random_images_are_compared_with_training_images_as_training_prepares_them(
    mirrored: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    found = score(capsys, MODEL, "--num", 6, *["--mirror"] * mirrored)
    wanted = fid_from_features(features(fakes(6)), features(reals(mirrored=mirrored)))
    assert found["fid"] == pytest.approx(wanted, rel=1e-4)  # float32 features
    assert (found["n_fake"], found["n_real"]) == (6, 10 if mirrored else 5)
    assert found["real"] == ["photos (training images)"]
    assert found["fake"] == MODEL
    assert found["protocol"] == {
        "features": "pytorch-fid InceptionV3 pool3 (2048), bilinear resize to 299",
        "precision": "float32 features",
        "device": "cpu",
        "reals": "square in the middle, Lanczos to 16x16, "
        + ("each image and its mirror image" if mirrored else "not mirrored"),
        "mirrored": mirrored,
        "fakes": "latents and noise at random, output rounded to 8 bits",
        "num": 6,
        "seed": 0,
        "truncation": None,
        "classes": None,
        "generator": "moving average of the weights",
        "task": "synthesis",
        "step": 1,
        "selection": "last",
    }


def test_the_score_is_that_of_the_files_that_generate_writes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = score(capsys, MODEL, "--num", 7, "--seed", 3, "--truncation", 0.7)
    typed = [MODEL, "-n", 7, "--seed", 3, "--truncation", 0.7, "-o", "fakes", "--no-grid"]
    assert run_command(capsys, "generate", *typed).status == 0
    for index, image in enumerate(reals()):
        Path("reals").mkdir(exist_ok=True)
        Image.fromarray(image).save(f"reals/{index}.png")
    by_hand = score(capsys, "--fake", "fakes", "--real", "reals")
    assert found["fid"] == pytest.approx(by_hand["fid"], rel=1e-9)
    assert (found["protocol"]["seed"], found["protocol"]["truncation"]) == (3, 0.7)
    assert found["fid"] != score(capsys, MODEL, "--num", 7, "--seed", 3)["fid"]


def test_very_many_images_are_scored_in_parts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = score(capsys, MODEL, "--num", 40, "--batch-size", 3)
    monkeypatch.setattr(measuring, "AT_ONCE", 4)
    monkeypatch.setattr(measuring, "TOLD_EVERY", 10)
    monkeypatch.setenv("XDG_CACHE_HOME", "other")  # the reals are not remembered
    asked: list[int] = []
    original = measuring.features_of

    def noting(*arguments: Any) -> Any:
        rows = original(*arguments)
        asked.append(len(rows))
        return rows

    monkeypatch.setattr(measuring, "features_of", noting)
    outcome = run_command(
        capsys, "eval-fid", MODEL, "--num", 40, "--batch-size", 3, "--device", "cpu", "--json"
    )
    assert asked == [6] * 6 + [4] + [5]  # batches of three, no part of one
    assert outcome.document["n_fake"] == 40
    assert outcome.document["fid"] == pytest.approx(whole["fid"], rel=1e-6)
    told = [line for line in outcome.err.splitlines() if line.startswith("features")]
    assert told == [f"features of generated images: {done} done" for done in (12, 21, 30, 40)]


def test_folders_and_statistics_may_stand_for_the_training_images(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = score(capsys, MODEL, "--num", 4, "--save-stats", "stats.npz", "--mirror")
    assert load_statistics(Path("stats.npz")).num_images == 10
    folders = ["--real", "photos/a", "--real", "photos/b"]
    second = score(capsys, MODEL, "--num", 4, *folders, "--mirror")
    third = score(capsys, MODEL, "--num", 4, "--real", "stats.npz")
    assert second["fid"] == pytest.approx(first["fid"], abs=1e-9)
    assert third["fid"] == pytest.approx(first["fid"], abs=1e-9)
    assert second["real"] == ["photos/a", "photos/b"]
    assert second["protocol"]["reals"] == first["protocol"]["reals"]
    assert third["protocol"]["reals"] == "statistics as given"
    assert third["protocol"]["mirrored"] is None


def test_reals_are_remembered_for_each_way_to_prepare_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    original = measuring.statistics_of

    def counting(rows: Any) -> Any:
        computed.append(len(rows))
        return original(rows)

    monkeypatch.setattr(measuring, "statistics_of", counting)
    for more in ([], [], ["--mirror"], ["--no-mirror"], ["--mirror"]):
        score(capsys, MODEL, "--num", 4, *more)
    assert computed == [5, 10]
    smaller = STYLEGAN2 | {"resolution": 32}
    write_model(Path("large.safetensors"), "stylegan2", 8, task="synthesis", settings=smaller)
    score(capsys, "large.safetensors", "--num", 4, "--dataset", "photos")
    assert computed == [5, 10, 5]


@pytest.fixture
def run() -> Path:
    """The folder of a run that was trained on `photos` with mirror images."""
    folder = Path("runs/some")
    folder.mkdir(parents=True)
    config = {
        "dataset": {"name": "photos", "root": str(Path("photos").resolve())},
        "settings": {"data": {"flip": True}},
    }
    (folder / "config.json").write_text(json.dumps(config))
    write(folder / "student.safetensors", dataset="photos")
    return folder


def test_a_run_brings_its_dataset_and_mirrors_as_it_was_trained(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [score(capsys, run, "--num", 4, *more) for more in ([], ["--no-mirror"], [])]
    assert [item["protocol"]["mirrored"] for item in found] == [True, False, True]
    assert [item["n_real"] for item in found] == [10, 5, 10]
    assert len(saved_scores(run)) == 2  # the third has the protocol of the first
    config = json.loads((run / "config.json").read_text())
    config["settings"]["data"]["flip"] = False
    (run / "config.json").write_text(json.dumps(config))
    assert score(capsys, run, "--num", 4)["n_real"] == 5


def test_classes_are_drawn_evenly(capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"resolution": 32, "num_classes": 3}
    write_model(Path("big.safetensors"), "biggan", 2, task="synthesis", settings=settings)
    found = score(capsys, "big.safetensors", "--num", 4, "--dataset", "photos")
    assert found["protocol"]["classes"] == "drawn evenly from 3"


def test_weights_of_others_are_called_what_their_file_calls_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = open_model(MODEL).network.state_dict()
    torch.save({"g": weights, "g_ema": weights}, "theirs.pt")
    for part in ("g", "g_ema"):
        found = score(capsys, "theirs.pt", "--part", part, "--num", 4, "--dataset", "photos")
        assert found["protocol"]["generator"] == f"part {part} of the file"


def test_few_images_are_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(capsys, "eval-fid", MODEL, "--num", 4)
    assert outcome.err.startswith("warning: FID of 4 images: below 2048")
    for word in ("FID", "square in the middle", "moving average"):
        assert word in " ".join(outcome.out.replace("│", " ").split())


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (f"{MODEL} --size 32", "--size 32: has no effect"),
        (f"{MODEL} --direction AtoB", "--direction AtoB: has no effect"),
        (f"{MODEL} --real-split test", "--real-split test: has no effect"),
        (f"{MODEL} --real photos/a --dataset photos", "--dataset photos: has no effect"),
        (f"{MODEL} --real stats.npz --mirror", "--mirror: has no effect with --real stats.npz"),
        (f"{MODEL} --real stats.npz --no-mirror", "--mirror: has no effect"),
        (f"{MODEL} --num 1", "--num 1: must be at least 2"),
        (f"{MODEL} --seed -1", "--seed -1: must be from 0"),
        (f"{MODEL} --truncation 3", "--truncation 3: must be above 0 and at most 2"),
        (f"{MODEL} --dataset nosuch", "nosuch"),
        ("homeless.safetensors", "give --dataset"),
        ("plain.safetensors --num 5", "--num: no effect on plain.safetensors"),
        ("plain.safetensors --seed 0 --no-mirror", "--seed, --mirror: no effect on plain"),
        ("--fake photos/a --real photos/b --seed 1", "--seed: no effect with --fake"),
        ("judge.safetensors", "is a discriminator"),
    ],
)
def test_what_has_no_effect_or_makes_no_sense_is_refused(
    typed: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path("homeless.safetensors"))
    write_model(Path("plain.safetensors"), width=2, dataset="photos")
    judge = {"resolution": 16}
    write_model(Path("judge.safetensors"), "stylegan2-discriminator", 8, settings=judge)
    rows = features(reals())
    statistics = statistics_of(rows)
    np.savez("stats.npz", mu=statistics.mean, sigma=statistics.covariance)
    outcome = run_command(capsys, "eval-fid", *typed.split())
    assert (outcome.status, outcome.out) == (2, "")
    assert named in outcome.err
