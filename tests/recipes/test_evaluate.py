"""`gancomp eval`: several scores from one pass, each with its options; a metric of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import run_command, saved_scores, write_model
from stand_ins import Means

import gancomp
from gancomp.data.demo_set import write_demo_set
from gancomp.declare import setting
from gancomp.errors import ConfigError
from gancomp.metrics.base import ImageSet
from gancomp.options import forget
from gancomp.recipes import eval_fid
from gancomp.registry import METRIC_OPTIONS, METRICS
from gancomp.scoring import measuring
from gancomp.scoring.scores import latest_fid


@dataclass(frozen=True)
class SpreadOptions:
    spread_power: float = setting(1.0, "--spread-power", "Its exponent.", above=0.0)


class Spread:
    """How far images lie from their mean, of both sides."""

    needs = "features"
    Options = SpreadOptions

    def __init__(self, options: SpreadOptions) -> None:
        self.options = options

    def scores(self, fakes: ImageSet, reals: ImageSet) -> Mapping[str, float]:
        return {"spread": self.of(fakes) / self.of(reals), "spread_real": self.of(reals)}

    def of(self, images: ImageSet) -> float:
        assert images.features is not None
        distances = np.linalg.norm(images.features - images.features.mean(axis=0), axis=1)
        return float((distances**self.options.spread_power).mean())

    def warning(self, num_images: int) -> str | None:
        return "too few" if num_images < 5 else None


@pytest.fixture(autouse=True)
def passes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[int]]:
    """How many images each pass of Inception saw; the plug-in's metric is in the table."""
    seen: list[int] = []
    original = measuring.features_of

    def counting(*arguments: Any) -> Any:
        rows = original(*arguments)
        seen.append(len(rows))
        return rows

    monkeypatch.setattr(measuring, "features_of", counting)
    monkeypatch.setattr(eval_fid, "load_inception", lambda say: Means())
    monkeypatch.setitem(METRICS, "spread", f"{__name__}:Spread")
    monkeypatch.setitem(METRIC_OPTIONS, "spread", f"{__name__}:SpreadOptions")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write_demo_set(Path("data"), size=32, train=4, test=3)
    forget()
    yield seen
    monkeypatch.undo()
    forget()


def score(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    outcome = run_command(capsys, "eval", *arguments, "--device", "cpu", "--json")
    assert outcome.status == 0, outcome.err
    return outcome.document


FOLDERS = ("--fake", "data/trainA", "--real", "data/trainB")


def test_one_pass_over_each_side_serves_all_metrics(
    capsys: pytest.CaptureFixture[str], passes: list[int]
) -> None:
    found = score(capsys, *FOLDERS, "--metrics", "fid,spread", "--spread-power", 2)
    assert passes == [4, 4]
    assert set(found["metrics"]) == {"fid", "spread", "spread_real"}
    assert found["metrics"]["spread"].keys() == {"value", "low", "high"}
    assert found["protocol"]["options"] == {"spread": {"spread_power": 2.0}}
    alone = run_command(capsys, "eval-fid", *FOLDERS, "--json").document
    assert passes == [4, 4, 4]  # the reals were remembered
    assert found["metrics"]["fid"]["value"] == alone["fid"]
    assert {key: found[key] for key in ("n_real", "n_fake", "weights", "real")} == {
        key: alone[key] for key in ("n_real", "n_fake", "weights", "real")
    }
    again = score(capsys, *FOLDERS, "--metrics", "spread,fid", "--spread-power", 2)
    assert passes == [4, 4, 4, 4]  # so were their features
    assert again["metrics"] == found["metrics"]
    assert score(capsys, *FOLDERS)["metrics"].keys() == {"fid"}


def test_intervals_and_the_protocol_of_each_metric_stand_beside_the_scores(
    capsys: pytest.CaptureFixture[str], passes: list[int]
) -> None:
    names = "fid,kid,precision,recall,density,coverage,spread"
    found = score(capsys, *FOLDERS, "--metrics", names, "--bootstrap", 20, "--pr-k", 2, "--dc-k", 1)
    assert passes == [4, 4]
    for name, number in found["metrics"].items():
        assert number["low"] <= number["value"] <= number["high"], name
    options = found["protocol"]["options"]
    assert (options["precision"]["k"], options["recall"]["k"], options["density"]["k"]) == (2, 2, 1)
    assert options["kid"]["subset_size"] == 4
    told = found["protocol"]["bootstrap"]
    assert (told["resamples"], told["level"], told["seed"]) == (20, 0.95, 0)
    assert told["of"] == "generated images and real images"
    shown = run_command(capsys, "eval", *FOLDERS, "--metrics", "kid", "--bootstrap", "20")
    assert f"{found['metrics']['kid']['value']:.4f} (" in shown.out
    score(capsys, *FOLDERS, "--save-stats", "stats.npz")
    reals = ("--fake", "data/trainA", "--real", "stats.npz", "--bootstrap", 20)
    assert score(capsys, *reals)["protocol"]["bootstrap"]["of"] == "generated images"


def test_features_of_all_images_are_there_however_many(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, passes: list[int]
) -> None:
    whole = score(capsys, *FOLDERS, "--metrics", "fid,spread")
    monkeypatch.setattr(measuring, "AT_ONCE", 2)
    monkeypatch.setenv("XDG_CACHE_HOME", "other")
    parts = score(capsys, *FOLDERS, "--metrics", "fid,spread", "--batch-size", 2)
    assert passes[2:] == [2, 2, 0, 2, 2, 0]
    for name, number in whole["metrics"].items():
        assert parts["metrics"][name]["value"] == pytest.approx(number["value"], rel=1e-4)


def test_a_damaged_memory_of_features_is_computed_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, passes: list[int]
) -> None:
    first = score(capsys, *FOLDERS, "--metrics", "spread")
    (entry,) = (tmp_path / "cache").rglob("features-*.npy")
    entry.write_bytes(b"cut")
    assert score(capsys, *FOLDERS, "--metrics", "spread")["metrics"] == first["metrics"]
    assert passes == [4, 4, 4, 4]


def test_a_run_keeps_each_selection_of_scores_with_its_protocol(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("run").mkdir()
    model = write_model(Path("run/student.safetensors"))
    Path("run/config.json").write_text("{}")
    for names in ("fid", "fid,spread", "fid,spread"):
        score(capsys, model, "--dataset", "data", "--metrics", names)
    run_command(capsys, "eval-fid", model, "--dataset", "data", "--device", "cpu")
    kept = saved_scores(Path("run"))
    assert [sorted(item.get("metrics", ["fid alone"])) for item in kept] == [
        ["fid"],
        ["fid", "spread", "spread_real"],
        ["fid alone"],
    ]
    assert latest_fid(model, 1) == kept[0]["metrics"]["fid"]["value"] == kept[2]["fid"]


def test_help_shows_all_metrics_and_their_options(capsys: pytest.CaptureFixture[str]) -> None:
    shown = " ".join(run_command(capsys, "eval", "--help").out.replace("│", "").split())
    assert all(part in shown for part in (", spread", "--spread-power", "--real-split"))


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--metrics fdi", "--metrics fdi: unknown; did you mean fid?"),
        ("--metrics fid,fid", "--metrics fid,fid: name each once"),
        ("--metrics ,", "--metrics ,: name each once"),
        ("--metrics fid --spread-power 2", "options of spread were given; add it or remove"),
        ("--metrics spread --spread-power 0", "--spread-power 0.0: must be greater than 0"),
        ("--metrics kid --kid-subset-size 5", "--kid-subset-size 5: there are 4 generated images"),
        ("--metrics kid --kid-subset-size 1", "--kid-subset-size 1: must be at least 2"),
        ("--metrics kid --pr-k 1", "options of precision, recall were given; add them or remove"),
        ("--metrics precision,recall --pr-k 4", "--pr-k 4: must be below the number of images"),
        ("--metrics fid,coverage", "--dc-k 5: must be below the number of images; there are 4"),
        ("--metrics fid-infinity", "from 5000 generated images on, there are 4; make more"),
        ("--metrics kdi", "--metrics kdi: unknown; did you mean kid?"),
        ("--bootstrap 3", "--bootstrap 3: use at least 20 resamples"),
        ("--bootstrap -1", "--bootstrap -1: use at least 20 resamples"),
        ("--metrics spread --batch-size 0", "--batch-size 0: must be at least 1"),
    ],
)
def test_mistakes_are_one_line(
    typed: str, said: str, capsys: pytest.CaptureFixture[str], passes: list[int]
) -> None:
    outcome = run_command(capsys, "eval", *FOLDERS, *typed.split())
    assert outcome.status == 2
    assert said in outcome.err
    assert passes == []


def test_statistics_cannot_be_drawn_again(capsys: pytest.CaptureFixture[str]) -> None:
    score(capsys, *FOLDERS, "--save-stats", "stats.npz")
    given = ("--fake", "stats.npz", "--real", "data/trainB")
    outcome = run_command(capsys, "eval", *given, "--bootstrap", "20")
    assert outcome.status == 2
    assert "--bootstrap 20: draws single images again, --fake stats.npz holds" in outcome.err


@pytest.mark.parametrize("side", ["--fake", "--real"])
def test_statistics_are_not_enough_for_what_needs_features(
    side: str, capsys: pytest.CaptureFixture[str]
) -> None:
    score(capsys, *FOLDERS, "--save-stats", "stats.npz")
    given = {"--fake": "data/trainA", "--real": "data/trainB"} | {side: "stats.npz"}
    folders = [word for pair in given.items() for word in pair]
    assert score(capsys, *folders)["metrics"].keys() == {"fid"}
    outcome = run_command(capsys, "eval", *folders, "--metrics", "spread")
    assert outcome.status == 2
    assert f"--metrics spread: compares features of single images, {side} stats.npz" in outcome.err


def test_few_images_are_warned_of_by_each_metric(capsys: pytest.CaptureFixture[str]) -> None:
    told = run_command(capsys, "eval", *FOLDERS, "--metrics", "spread").err
    assert "warning: too few" in told
    assert "biased" not in told


def test_the_same_from_python() -> None:
    folders: Any = {"fake": "data/trainA", "real": "data/trainB", "device": "cpu"}
    found = gancomp.evaluate(
        metrics=["spread"], metric_options={"spread": {"spread_power": 2.0}}, **folders
    )
    assert found["metrics"].keys() == {"spread", "spread_real"}
    assert gancomp.evaluate(**folders)["fid"] > 0
    kid = gancomp.evaluate(metrics=["kid"], bootstrap=20, **folders)["metrics"]["kid"]
    assert kid["low"] <= kid["value"] <= kid["high"]
    with pytest.raises(ConfigError, match="`metrics` kdi: unknown"):
        gancomp.evaluate(metrics=["kdi"], **folders)
