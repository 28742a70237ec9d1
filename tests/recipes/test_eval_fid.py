"""`gancomp eval-fid`: which images count, what is recorded, and what it refuses."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import run_command, write_model
from PIL import Image
from stand_ins import Means, features, images

from gancomp.data.demo_set import write_demo_set
from gancomp.data.transforms import to_uint8
from gancomp.export.model import open_model
from gancomp.metrics.features import WEIGHTS_NAME
from gancomp.metrics.fid import fid_from_features, statistics_of
from gancomp.networks.inference import run_generator
from gancomp.recipes import eval_fid as recipe
from gancomp.scoring import measuring


@pytest.mark.usefixtures("stub")
def test_two_folders_are_scored_as_they_are(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--real", toy / "testB", "--fake", toy / "testA"]
    outcome = run_command(capsys, "eval-fid", *arguments, "--json")
    score = outcome.document
    wanted = fid_from_features(features(images(toy, "testA")), features(images(toy, "testB")))
    assert score["fid"] == pytest.approx(wanted, rel=1e-5)  # float32 features
    assert (score["n_real"], score["n_fake"]) == (3, 3)
    assert (score["real"], score["fake"]) == ([str(toy / "testB")], str(toy / "testA"))
    assert score["weights"] == "6726825d as if"
    assert score["protocol"]["fakes"] == "files as stored"
    wanted_keys = {"fid", "n_real", "n_fake", "skipped", "real", "fake", "weights", "protocol"}
    assert (score.keys(), score["skipped"]) == (wanted_keys, 0)
    assert "biased upwards" in outcome.err
    assert outcome.err.startswith("warning: FID of 3 images")


@pytest.mark.usefixtures("stub")
def test_of_a_folder_the_files_count_that_pytorch_fid_counts(
    tmp_path: Path, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for number, suffix in enumerate(("pgm", "ppm", "webp", "bmp", "tif", "JPG", "gif", "avif")):
        Image.new("L", (20, 20), 20 * number).save(mixed / f"{number}.{suffix}")
    outcome = run_command(capsys, "eval-fid", "--real", mixed, "--fake", toy / "testA", "--json")
    assert outcome.document["n_real"] == 6
    assert f"--real {mixed}: ignored 2 files (1 .gif, 1 .avif)" in outcome.err
    assert "1 of 6 suffixes are in upper case" in outcome.err
    for path in mixed.iterdir():
        if path.suffix not in (".gif", ".avif"):
            path.unlink()
    outcome = run_command(capsys, "eval-fid", "--real", mixed, "--fake", toy / "testA")
    assert outcome.status == 2
    assert "holds none, but 2 others (1 .gif, 1 .avif)" in outcome.err


@pytest.mark.usefixtures("stub")
def test_nested_folders_are_hinted_at_and_counted_if_asked_for(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (toy / "testB" / ".hidden").mkdir()
    (toy / "testB" / ".hidden" / "x.png").touch()
    given = ["eval-fid", "--real", toy, "--fake", toy / "testA"]
    outcome = run_command(capsys, *given)
    assert outcome.status == 2
    assert "it holds none; --recursive counts those in its folders" in outcome.err
    assert run_command(capsys, *given, "--recursive", "--json").document["n_real"] == 14


@pytest.mark.usefixtures("stub")
def test_on_a_cpu_the_memory_that_is_freed_is_kept(
    monkeypatch: pytest.MonkeyPatch, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = []
    monkeypatch.setattr(recipe, "keep_freed_memory", lambda: kept.append(True))
    folders = ["--real", toy / "testB", "--fake", toy / "testA"]
    assert run_command(capsys, "eval-fid", *folders, "--device", "cpu").status == 0
    assert kept


@pytest.mark.usefixtures("stub")
def test_several_folders_of_reals_are_one_set(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--real", toy / "testB", "--real", toy / "trainB", "--fake", toy / "testA"]
    score = run_command(capsys, "eval-fid", *arguments, "--json").document
    reals = features(images(toy, "testB", "trainB"))
    assert score["n_real"] == 7
    assert score["real"] == [str(toy / "testB"), str(toy / "trainB")]
    wanted = fid_from_features(features(images(toy, "testA")), statistics_of(reals))
    assert score["fid"] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.usefixtures("stub")
def test_equal_folders_score_nothing(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--real", toy / "testB", "--fake", toy / "testB"]
    score = run_command(capsys, "eval-fid", *arguments, "--json").document
    assert score["fid"] == pytest.approx(0, abs=1e-6)


@pytest.mark.usefixtures("stub")
@pytest.mark.parametrize(
    ("paired", "split", "n_real", "label"),
    [
        (False, None, 7, "train+test"),
        (False, "test", 3, "test"),
        (True, None, 3, "test"),
        (True, "all", 7, "train+test"),
    ],
)
def test_reals_are_train_and_test_for_unpaired_and_test_for_paired_data(
    paired: bool,
    split: str | None,
    n_real: int,
    label: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "set"
    write_demo_set(root, size=32, train=4, test=3, paired=paired)
    model = write_model(
        tmp_path / "m.safetensors", width=2, task="paired" if paired else "unpaired"
    )
    arguments = [model, "--dataset", root, *(["--real-split", split] if split else [])]
    score = run_command(capsys, "eval-fid", *arguments, "--json").document
    assert (score["n_real"], score["n_fake"]) == (n_real, 3)
    assert score["real"] == [f"{root} ({label} targets)"]
    assert score["protocol"]["task"] == ("paired" if paired else "unpaired")


@pytest.mark.usefixtures("stub")
@pytest.mark.parametrize("paired", [False, True])
def test_all_sources_are_those_of_training_and_test(
    paired: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, task = tmp_path / "set", "paired" if paired else "unpaired"
    write_demo_set(root, size=32, train=4, test=3, paired=paired)
    model = write_model(tmp_path / "m.safetensors", width=2, task=task)
    arguments = [model, "--dataset", root, "--fake-split", "all", "--json"]
    score = run_command(capsys, "eval-fid", *arguments).document
    assert score["n_fake"] == 7
    assert score["protocol"]["fakes"].startswith("all training and test sources, ")


@pytest.mark.usefixtures("stub")
@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
@pytest.mark.parametrize("paired", [False, True])
def test_every_test_source_is_translated_and_compared_with_the_targets(
    paired: bool, direction: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "set"
    write_demo_set(root, size=32, train=4, test=3, paired=paired)
    task = "paired" if paired else "unpaired"
    model = write_model(tmp_path / "m.safetensors", width=2, task=task, direction=direction)
    score = run_command(capsys, "eval-fid", model, "--dataset", root, "--json").document
    sources = pixels_of(root, paired, direction[0], "test")
    targets = pixels_of(root, paired, direction[-1], "train", "test")
    network = open_model(model).network
    tensors = [torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1 for pixels in sources]
    for index, tensor in enumerate(tensors):
        fake = to_uint8(run_generator(network, tensor))[0]
        save(tmp_path / "fakes" / f"{index}.png", fake)
    for index, pixels in enumerate(targets):
        save(tmp_path / "reals" / f"{index}.png", pixels)
    by_hand = ["--fake", tmp_path / "fakes", "--real", tmp_path / "reals"]
    wanted = run_command(capsys, "eval-fid", *by_hand, "--json").document
    assert score["n_fake"] == 3
    assert score["n_real"] == wanted["n_real"] == (3 if paired else 7)
    assert score["fid"] == pytest.approx(wanted["fid"], rel=1e-5)


def pixels_of(root: Path, paired: bool, side: str, *names: str) -> list[Any]:
    """The images of side A or B, as the folders `names` (or val/, for pairs) have them."""
    if not paired:
        folders = [f"{name}{side}" for name in names]
        return [np.array(Image.open(path)) for path in images(root, *folders)]
    half = slice(0, 32) if side == "A" else slice(32, 64)
    return [np.array(Image.open(path))[:, half] for path in images(root, "val")]


def save(path: Path, pixels: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)


@pytest.mark.usefixtures("stub")
def test_unreadable_files_are_skipped_named_and_not_counted_unless_strict(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (toy / "testA" / "bad.png").write_bytes(b"no image")
    arguments = ["--real", toy / "testB", "--fake", toy / "testA"]
    outcome = run_command(capsys, "eval-fid", *arguments, "--json")
    assert outcome.document["n_fake"] == 3
    assert "bad.png" in outcome.err
    strict = run_command(capsys, "eval-fid", *arguments, "--strict")
    assert (strict.status, strict.out) == (2, "")
    assert "bad.png" in strict.err


@pytest.mark.usefixtures("stub")
def test_a_dataset_without_test_images_is_refused_with_a_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_demo_set(tmp_path / "set", size=32, train=2, test=1)
    for name in ("testA", "testB"):
        for path in (tmp_path / "set" / name).iterdir():
            path.unlink()
        (tmp_path / "set" / name).rmdir()
    model = write_model(tmp_path / "m.safetensors", width=2)
    outcome = run_command(capsys, "eval-fid", model, "--dataset", tmp_path / "set")
    assert outcome.status == 2
    assert "has no test images" in outcome.err
    assert "--fake" in outcome.err


@pytest.mark.usefixtures("stub")
def test_a_single_image_is_too_few(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in images(toy, "testA")[1:]:
        path.unlink()
    outcome = run_command(capsys, "eval-fid", "--real", toy / "testB", "--fake", toy / "testA")
    assert (outcome.status, outcome.out) == (2, "")
    assert "at least 2 images" in outcome.err


@pytest.mark.usefixtures("stub")
def test_a_checkpoint_of_others_is_scored_on_the_dataset_it_is_given(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = write_model(tmp_path / "m.safetensors", "resnet6", 2)
    torch.save(open_model(ours).network.state_dict(), tmp_path / "net.pth")
    arguments = ["--dataset", toy, "--size", 32, "--json"]
    scores = [
        run_command(capsys, "eval-fid", path, *arguments).document
        for path in (ours, tmp_path / "net.pth")
    ]
    assert scores[0]["fid"] == scores[1]["fid"]
    assert scores[1]["protocol"]["step"] is None


@pytest.mark.usefixtures("stub")
def test_the_table_shows_score_counts_and_protocol(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run_command(capsys, "eval-fid", model)
    assert outcome.status == 0
    for word in ("FID", "generated images", "real images", "fakes", "unpaired", "last"):
        assert word in outcome.out


def test_the_real_inception_scores_a_small_folder(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = os.environ.get("TORCH_HOME")
    weights = Path(home or "") / "hub" / "checkpoints" / WEIGHTS_NAME
    if home is None or not weights.is_file():
        pytest.skip(f"needs {WEIGHTS_NAME} in $TORCH_HOME/hub/checkpoints")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    arguments = ["--real", toy / "testB", "--fake", toy / "testA", "--json"]
    outcome = run_command(capsys, "eval-fid", *arguments)
    assert outcome.document["fid"] > 0
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert outcome.document["weights"] == digest
    published = digest.startswith("6726825d")
    assert ("that pytorch-fid publishes" in outcome.err) == (not published)


def test_other_weights_than_the_published_ones_cost_a_warning(
    stub: Means, toy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stub, "weights_id", "0123456789abcdef")
    outcome = run_command(capsys, "eval-fid", "--real", toy / "testB", "--fake", toy / "testA")
    assert outcome.status == 0
    assert "warning: the Inception weights (sha256 0123456789ab" in outcome.err


@pytest.mark.usefixtures("stub")
def test_the_smaller_set_decides_the_warning_about_bias(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = ["--real", toy / "testB", "--fake", toy / "trainA"]  # 3 reals, 4 fakes
    assert "warning: FID of 3 images" in run_command(capsys, "eval-fid", *pair).err


def foreign(tmp_path: Path) -> Path:
    """A checkpoint of both directions, whose header cannot tell which is which."""
    state = open_model(write_model(tmp_path / "m.safetensors", "resnet6", 2)).network.state_dict()
    torch.save({"G_A": state, "G_B": state}, tmp_path / "both.pth")
    return tmp_path / "both.pth"


@pytest.mark.usefixtures("stub")
def test_the_typed_direction_wins_over_the_header_s(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fids = {}
    for header in ("AtoB", "BtoA"):
        model = write_model(tmp_path / f"{header}.safetensors", width=2, direction=header)
        for typed in ("", "AtoB", "BtoA"):
            more = ["--direction", typed] if typed else []
            arguments = [model, "--dataset", toy, *more, "--json"]
            score = run_command(capsys, "eval-fid", *arguments).document
            assert score["protocol"]["direction"] == (typed or header)
            fids[header, typed] = score["fid"]
    assert fids["AtoB", ""] == fids["AtoB", "AtoB"] == fids["BtoA", "AtoB"]
    assert fids["BtoA", ""] == fids["BtoA", "BtoA"] == fids["AtoB", "BtoA"]
    assert fids["AtoB", ""] != pytest.approx(fids["BtoA", ""], rel=1e-3)


@pytest.mark.usefixtures("stub")
@pytest.mark.parametrize(
    ("part", "typed", "warned"),
    [("G_B", None, True), ("G_B", "BtoA", False), ("G_B", "AtoB", False), ("G_A", None, False)],
)
def test_a_part_that_looks_like_the_way_back_costs_a_warning_without_a_direction(
    part: str,
    typed: str | None,
    warned: bool,
    toy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = ["--direction", typed] if typed else []
    arguments = [foreign(tmp_path), "--part", part, "--dataset", toy, "--size", 32, *more]
    outcome = run_command(capsys, "eval-fid", *arguments)
    assert outcome.status == 0
    assert ("warning: --part G_B" in outcome.err) == warned
    assert ("--direction BtoA" in outcome.err) == warned


@pytest.mark.usefixtures("stub")
def test_features_of_many_images_show_progress_on_stderr(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--real", toy / "trainB", "--fake", toy / "trainA", "--batch-size", 1, "--json"]
    assert "images done" not in run_command(capsys, "eval-fid", *arguments).err
    assert measuring.TOLD_EVERY == 100
    monkeypatch.setattr(measuring, "TOLD_EVERY", 2)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))  # the reals are not remembered
    outcome = run_command(capsys, "eval-fid", *arguments)
    progress = [line for line in outcome.err.splitlines() if line.startswith("features")]
    assert progress == [
        f"features of {kind} images: {done} done"
        for kind in ("generated", "real")
        for done in (2, 4)
    ]
    assert outcome.document["n_fake"] == 4


@pytest.mark.parametrize(
    ("allowed", "wanted"),
    [(True, "float32 features; the generator may use TF32"), (False, "float32 features")],
)
def test_the_protocol_says_what_the_generator_computes_with_on_cuda(
    allowed: bool, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    assert recipe.number_format(torch.device("cuda"), generates=True) == wanted
    assert recipe.number_format(torch.device("cuda"), generates=False) == "float32 features"
    assert recipe.number_format(torch.device("cpu"), generates=True) == "float32 features"


@pytest.mark.usefixtures("stub")
def test_a_passing_fault_at_one_image_is_counted_and_not_kept(
    toy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open, broken = Image.open, images(toy, "testB")[1]

    def failing(path: Any, *arguments: Any, **options: Any) -> Any:
        if Path(path) == broken:
            raise OSError(24, "Too many open files")
        return real_open(path, *arguments, **options)

    folders = ["--real", toy / "testB", "--fake", toy / "testA", "--json"]
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", failing)
        for _ in range(2):  # computed, then kept as what it is
            outcome = run_command(capsys, "eval-fid", *folders)
            assert (outcome.document["n_real"], outcome.document["skipped"]) == (2, 1)
            assert f"{broken}: cannot be read (Too many open files); skipped" in outcome.err
        outcome = run_command(capsys, "eval-fid", *folders, "--strict")
        assert (outcome.status, str(broken) in outcome.err) == (2, True)
    score = run_command(capsys, "eval-fid", *folders, "--strict").document
    assert (score["n_real"], score["skipped"]) == (3, 0)


@pytest.mark.usefixtures("stub")
def test_damaged_fakes_and_sources_are_counted(
    toy: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = images(toy, "testA")[0]
    damaged.write_bytes(damaged.read_bytes()[:60])
    for arguments in (["--real", toy / "testB", "--fake", toy / "testA"], [model]):
        outcome = run_command(capsys, "eval-fid", *arguments, "--json")
        assert (outcome.document["n_fake"], outcome.document["skipped"]) == (2, 1), outcome.err
