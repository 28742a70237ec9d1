"""A search as a stage before a run: what it leaves, what it looks at, killed and resumed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commands import Outcome, contents, run_command, write_model
from PIL import Image
from shrink_builders import KilledError, clocked

from gancomp.data.demo_set import write_demo_set
from gancomp.engine import fit
from gancomp.engine.run import check_place
from gancomp.errors import ConfigError, WeightsError
from gancomp.export.model import open_model
from gancomp.methods.gan_compression import GanCompression
from gancomp.planning.shrinking import make_way
from gancomp.recipes import search_alone
from gancomp.recipes.search_alone import ShrinkWanted, _settings, searched
from gancomp.registry import SHRINKERS, resolve
from gancomp.shrink.base import searches
from gancomp.shrink.candidates import Candidates
from gancomp.training import judging, searching
from gancomp.training.ways import Silent

SIZES = (
    "--size 16 --d-layers 1 --d-width 4 --batch-size 1 --workers 0 --device cpu --log-every 1 "
    "--checkpoint-every 2"
)
SEARCHES = {
    "gcc": "--budget 60%",
    "dmad": "--budget 60%",
    "agd": "--budget 0.002G --start-width 8 --pretrain-share 0.3 --search-score l1 "
    "--search-held-out 2 --perceptual none",
    "once-for-all": "--budget 60% --channel-choices 4,3,2 --search-score l1 --search-held-out 2 "
    "--population 4 --generations 2 --slack 0.5",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training images alone: whatever looked at test images would fail."""
    root = tmp_path_factory.mktemp("search") / "data"
    write_demo_set(root, size=32, train=5, test=1)
    for image in [*(root / "testA").iterdir(), *(root / "testB").iterdir()]:
        image.unlink()
    (root / "testA").rmdir()
    (root / "testB").rmdir()
    return root


@pytest.fixture(scope="module")
def teacher(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from gancomp.__main__ import run

    out = data.parent / "teacher"
    typed = f"pretrain --arch mobile-resnet6 --width 4 --max-steps 1 {SIZES}"
    assert run([*typed.split(), "--dataset", str(data), "--out", str(out)]) == 0
    return out


def typed(by: str, data: Path, teacher: Path, out: Path) -> list[str]:
    own = f"--shrink {by} {SEARCHES[by]} --search-steps 3 --method gan-compression --max-steps 2"
    places = ["--dataset", str(data), "--teacher", str(teacher), "--out", str(out)]
    return ["distill", *own.split(), *SIZES.split(), *places]


def steps_of(run: Path) -> list[Any]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["losses"]) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("by", SEARCHES)
def test_a_search_that_is_killed_twice_ends_as_the_undisturbed_one(
    by: str,
    data: Path,
    teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    outcome = run_command(capsys, *typed(by, data, teacher, whole))
    assert outcome.status == 0, outcome.err
    config = json.loads((whole / "config.json").read_text())
    assert config["shrink"]["by"] == by
    assert config["shrink"]["reached"] is True
    student = open_model(whole / "student.safetensors").network
    assert config["settings"]["student"]["channels"] == student.settings()["channels"]

    taken, appended = fit.run_step, Candidates._append

    def dies_at_the_third_step(loop: Any, index: int, batch: Any) -> Any:
        if index == 2:
            raise KilledError
        return taken(loop, index, batch)

    last_written = 0 if by == "dmad" else 1  # which has one candidate in all

    def dies_at_a_candidate(self: Candidates, candidate: Any) -> None:
        if len(self.seen) == last_written:
            raise KilledError
        appended(self, candidate)

    monkeypatch.setattr(fit, "run_step", dies_at_the_third_step)
    with pytest.raises(KilledError):
        run_command(capsys, *typed(by, data, teacher, cut))
    monkeypatch.setattr(fit, "run_step", taken)
    monkeypatch.setattr(Candidates, "_append", dies_at_a_candidate)
    with pytest.raises(KilledError):
        run_command(capsys, "distill", "--resume", "--out", cut)
    monkeypatch.setattr(Candidates, "_append", appended)
    outcome = run_command(capsys, "distill", "--resume", "--out", cut)
    assert outcome.status == 0, outcome.err

    files = {name: digest for name, digest in contents(whole).items() if "search.jsonl" in name}
    assert len(files) == 1
    for name, digest in files.items():
        assert contents(cut)[name] == digest
    for run in ("", "stages/search"):
        assert steps_of(cut / run) == steps_of(whole / run)
    assert contents(cut)["student.safetensors"] == contents(whole)["student.safetensors"]
    if by == "gcc":
        again = run_command(capsys, "distill", "--resume", "--out", cut, "--max-steps", 3)
        assert again.status == 0, again.err
        assert "stage search" not in again.err


@pytest.mark.parametrize(
    ("by", "own"),
    [
        ("once-for-all", SEARCHES["once-for-all"]),
        # which tunes and scores each candidate by itself, within the choice
        ("co-evolution", "--budget 60% --search-held-out 2 --population 2 --generations 1"),
    ],
)
def test_shrink_searches_beside_its_file_and_goes_on_with_resume(
    by: str,
    own: str,
    data: Path,
    teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "student.safetensors"
    command = ["shrink", teacher, "--by", by, *own.split()]
    command += ["--search-steps", 2, "-o", out, "--json", "--device", "cpu"]
    appended = Candidates._append

    def dies(self: Candidates, candidate: Any) -> None:
        raise KilledError

    monkeypatch.setattr(Candidates, "_append", dies)
    with pytest.raises(KilledError):
        run_command(capsys, *command)
    monkeypatch.setattr(Candidates, "_append", appended)
    refused = run_command(capsys, *command)
    assert refused.status == 2
    assert "--resume" in refused.err
    refused = run_command(capsys, *command, "--resume", "--search-steps", 3)
    assert refused.status == 2
    assert "--search-steps 3" in refused.err
    outcome = run_command(capsys, *command, "--resume")
    assert outcome.status == 0, outcome.err
    found = open_model(out)
    assert found.header["shrink"]["by"] == by
    assert outcome.document["trained"] is True
    assert outcome.document["student"]["macs"] <= 0.6 * outcome.document["teacher"]["macs"]
    stage = tmp_path / "student-search" / "stages" / "search"
    assert (stage / "search.jsonl").exists()
    if by == "co-evolution":
        other = open_model(stage / "backward.safetensors").network
        assert other.layer_widths["channels"] == found.header["shrink"]["backward"]["shape"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--by", "once-for-all"], "searches on images; give --dataset"),
        (["--by", "ratio", "--dataset", "data"], "looks at no images; remove it"),
        (["--by", "ratio", "--resume"], "looks at no images; remove it"),
        (["--by", "ratio", "--task", "paired"], "looks at no images; remove it"),
    ],
)
def test_images_go_with_searches_only(
    more: list[str], message: str, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = teacher / "teacher.safetensors"
    command = ["shrink", model, "--budget", "50%", "-o", tmp_path / "new.safetensors", *more]
    outcome = run_command(capsys, *command)
    assert outcome.status == 2
    assert message in outcome.err


def refuses_agd(self: GanCompression, size: Any) -> None:
    if self.student.arch == "agd":
        raise ConfigError("its maps differ in size")


def has_no_inception(**own: Any) -> Any:
    raise WeightsError("no Inception weights")


@pytest.mark.parametrize(
    ("by", "more", "message"),
    [
        ("agd", [], "could not train what it finds (its maps differ in size)"),
        ("agd", ["--student-arch", "mobile-resnet6"], "--student-arch mobile-resnet6"),
        ("agd", ["--budget", "0.0001M"], "of the narrowest widths take"),
        ("once-for-all", ["--search-score", "fid"], "no Inception weights"),
    ],
)
def test_what_cannot_work_is_refused_before_a_run_is_begun(
    by: str,
    more: list[str],
    message: str,
    data: Path,
    teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(GanCompression, "check_size", refuses_agd)
    monkeypatch.setattr(judging, "load_inception", has_no_inception)
    out = tmp_path / "run"
    outcome = run_command(capsys, *typed(by, data, teacher, out), *more)
    assert outcome.status == 2
    assert message in outcome.err
    check_place(out, resume=False)  # the corrected command may write here


TOO_LITTLE = {
    "MACs": "0.000001G",
    "parameters": "0.00001M",
    "bytes": "8B",
    "share": "0.01%",
    "time": "0.001ms",
}
WAYS = {
    "ratio": ["share"],
    "latency": ["time"],
    "dmad": ["share"],
    **dict.fromkeys(("width", "magnitude", "cat"), ["bytes", "time"]),
    **dict.fromkeys(("gcc", "co-evolution", "agd"), ["share", "time"]),
    "once-for-all": ["MACs", "parameters", "time"],
}


def test_every_way_to_shrink_is_tried_with_too_little() -> None:
    assert WAYS.keys() == SHRINKERS.keys()


@pytest.mark.parametrize(("by", "budget"), [(by, each) for by in WAYS for each in WAYS[by]])
def test_what_no_student_meets_is_refused_before_anything_is_trained(
    by: str,
    budget: str,
    data: Path,
    teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if by == "magnitude":
        pytest.importorskip("torch_pruning", reason="needs the extra prune")
    monkeypatch.chdir(tmp_path)
    clocked(monkeypatch)
    monkeypatch.setattr(fit, "run_step", lambda *own: pytest.fail("a step was taken"))
    own = {
        "once-for-all": "--channel-choices 4,2 --search-score l1 --search-held-out 2",
        "agd": "--start-width 8 --search-score l1 --search-held-out 2 --perceptual none",
    }
    out = tmp_path / "run"
    typed = ["distill", "--dataset", data, "--teacher", teacher, "--out", out, *SIZES.split()]
    typed += ["--shrink", by, "--budget", TOO_LITTLE[budget], *own.get(by, "").split()]
    outcome = run_command(capsys, *typed, "--method", "gan-compression", "--max-steps", 1)
    assert outcome.status == 2, outcome.err
    last = outcome.err.splitlines()[-1]
    assert last.startswith(f"error: --shrink {by} --budget {TOO_LITTLE[budget]}: ")
    assert "give" in last
    assert not out.exists()


def test_the_time_of_a_run_holds_for_the_choice_too(
    data: Path,
    teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(SEARCHES, "co-evolution", "--budget 60% --population 2")
    out = tmp_path / "run"
    command = typed("co-evolution", data, teacher, out)
    for more in (["--max-time", "0.001s"], ["--max-time", "0.001s", "--resume"]):
        outcome = run_command(capsys, *command, *more)
        assert outcome.status == 0, outcome.err
        assert "stage search: out of time; go on with --resume" in outcome.err
        assert not (out / "metrics.jsonl").exists()


def test_a_search_goes_on_with_the_same_perceptual_weights_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe = {"source": "vgg16", "file": "a.pth", "sha256": "1"}
    monkeypatch.setattr(
        searching, "open_features", lambda *own: SimpleNamespace(describe=dict(describe))
    )

    def sitting() -> None:
        features = searching.Features(Any, Any)  # type: ignore[arg-type]
        features(["relu1_2"])
        features.keep(tmp_path / "perceptual.json")

    sitting()
    describe["file"] = "moved.pth"
    sitting()
    describe["sha256"] = "2"
    with pytest.raises(ConfigError, match=r"other perceptual weights \(a.pth\)"):
        sitting()


def test_shrink_of_a_file_on_square_pairs_goes_on_as_it_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The task is the model's, where the images do not tell; seed and model stay on resuming."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "train").mkdir(parents=True)
    for number in range(2):
        image = Image.effect_noise((32, 32), 60 + number).convert("RGB")
        image.save(tmp_path / "data" / "train" / f"{number}.png")
    model = write_model(tmp_path / "model.safetensors", task="paired", direction="BtoA")
    other = write_model(tmp_path / "other.safetensors", task="paired", direction="BtoA")
    unknown = write_model(tmp_path / "unknown.safetensors", task=None)

    small = {"discriminator": {"arch": "patchgan", "width": 4, "layers": 1}}
    monkeypatch.setattr(
        search_alone, "_settings", lambda wanted, size: _settings(wanted, size) | small
    )

    def shrunk(name: str, model: Path, *more: object) -> Outcome:
        command = f"--by gcc --budget 60% --size 16 --search-steps 1 --device cpu -o {name}".split()
        return run_command(capsys, "shrink", model, *command, *more)

    first = ["--dataset", "data", "--seed", 5]
    assert "--task paired" in shrunk("a.safetensors", unknown, *first).err
    too_little = ["--task", "paired", "--budget", "1B"]  # which is seen once the images are read
    assert "with one channel" in shrunk("a.safetensors", unknown, *first, *too_little).err
    outcome = shrunk("b.safetensors", model, *first)
    assert outcome.status == 0, outcome.err
    settings = json.loads(Path("b-search/config.json").read_text())["settings"]
    assert (settings["data"]["task"], settings["data"]["direction"]) == ("paired", "BtoA")
    written = Path("b.safetensors").read_bytes()
    assert shrunk("b.safetensors", model, "--resume").status == 0
    assert Path("b.safetensors").read_bytes() == written
    refused = shrunk("b.safetensors", other, "--resume")
    assert refused.status == 2
    assert "was begun with model.safetensors; give that" in refused.err.replace(f"{tmp_path}/", "")
    refused = shrunk("b.safetensors", model, "--resume", "--seed", 0)
    assert "seed: 5 -> 0" in refused.err


@pytest.mark.parametrize("by", [by for by in SHRINKERS if searches(resolve(SHRINKERS, "", by))])
def test_what_is_not_translated_is_not_searched_for(
    by: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "m.safetensors", "srresnet", task="super-resolution")
    command = ["shrink", model, "--by", by, "--budget", "50%", "--dataset", tmp_path]
    outcome = run_command(capsys, *command, "-o", tmp_path / "a.safetensors")
    assert outcome.status == 2
    assert "searches on unpaired or paired data, not super-resolution; choose mag" in outcome.err
    assert [*tmp_path.iterdir()] == [model]


def test_a_search_takes_no_part_of_a_file(tmp_path: Path) -> None:
    wanted = ShrinkWanted(tmp_path, "gcc", "50%", tmp_path / "a.safetensors", part="G_B")
    with pytest.raises(ConfigError, match="`part` G_B: a search takes a file of one network"):
        searched(wanted, make_way("gcc", "50%", "", {}), 16, Silent())


def test_shrink_goes_on_with_weights_that_were_moved(tmp_path: Path) -> None:
    wanted = ShrinkWanted(tmp_path, "agd", "50%", tmp_path / "a.safetensors", resume=True)
    assert "perceptual" not in _settings(wanted, 16)
    moved = replace(wanted, vgg=tmp_path / "vgg.pth")
    assert _settings(moved, 16)["perceptual"] == {"file": str(tmp_path / "vgg.pth")}
