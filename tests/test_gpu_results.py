"""What came back from a GPU machine: archived within a limit, scored, put into tables."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import write_model
from gpu_scripts import EXAMPLES, importing, script
from torch import Tensor, nn

from gancomp.data.demo_set import write_demo_set
from gancomp.recipes import eval_fid


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from importing(monkeypatch)


def test_an_archive_leaves_out_what_does_not_fit_and_any_beginning_is_spread(
    tmp_path: Path,
) -> None:
    results = script("results")
    paths = [Path(f"{index:02d}") for index in range(9)]
    ordered = results.spread(paths)
    assert sorted(ordered) == paths
    assert [path.name for path in ordered[:3]] == ["08", "04", "00"]
    found = results.Results(tmp_path / "results", tmp_path / "work", limit=20_000)
    run = tmp_path / "work" / "runs" / "dcd-s0"
    (run / "snapshots").mkdir(parents=True)
    (run / "config.json").write_text("{}")
    for name in ("student", *(f"snapshots/student_{step:08d}" for step in (1, 2, 3))):
        (run / f"{name}.safetensors").write_bytes(bytes(4000))
    (run / "samples").mkdir()
    (run / "samples" / "step_2.png").write_bytes(b"half a picture")
    found.part("dcd-s0")["kind"] = "run"
    found.pack()
    students, samples = found.summary["left_out"].values()
    assert students == ["dcd-s0/snapshots/student_00000001.safetensors"]
    assert samples[0].startswith("dcd-s0/step_2.png: UnidentifiedImageError: ")
    assert (tmp_path / "results" / "students.zip").stat().st_size <= 20_000
    assert not list((tmp_path / "results").glob(".*"))


class Means(nn.Module):
    """Stands in for Inception: means of color over a coarse grid."""

    weights_id = "6726825d as if"

    def forward(self, images_01: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images_01, 2).flatten(1)


def test_what_came_back_is_scored_by_both_protocols_and_tabled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = tmp_path / "toy"
    write_demo_set(toy, size=32, train=6, test=3)
    score, table = script("score"), script("table")
    for module in (eval_fid, score):
        monkeypatch.setattr(module, "load_inception", lambda say: Means())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    back, out = tmp_path / "back", tmp_path / "scores"
    back.mkdir()
    with zipfile.ZipFile(back / "students.zip", "w") as packed:
        for step in (1, 2, 3):
            model = write_model(tmp_path / "model", width=2, step=step, dataset=str(toy))
            packed.write(model, f"dcd-s0/snapshots/student_{step:08d}.safetensors")
        packed.write(model, "dcd-s0/student.safetensors")
    with zipfile.ZipFile(back / "translated.zip", "w") as packed:
        for path in sorted((toy / "testA").iterdir()):
            packed.write(path, f"dcd-s0/{path.name}")
    run = {"kind": "run", "variant": "dcd", "seed": 0, "status": "done", "epochs_seen": 5.0}
    run |= {"plan": {"batch_size": 4, "lr": 4e-4, "epochs": 5, "precision": "bf16"}}
    run |= {"images_per_second": 50.0, "perceptual": {"source": "random"}}
    summary = {"machine": {"device": "a GPU"}, "parts": {"dcd-s0": run, "bench": benchmark()}}
    (back / "summary.json").write_text(json.dumps(summary))
    typed = ["--dataset", str(toy), "--name", "toy", "--out", str(out), "--judging", "4"]
    score.main([str(back), *typed, "--curve", "2", "--students", str(tmp_path / "students")])
    capsys.readouterr()

    document = json.loads((out / "toy-dcd-s0.json").read_text())
    last = document["last"]
    assert (last["step"], last["n_fake"], last["n_real"], last["n_real_test_only"]) == (3, 3, 9, 3)
    assert last["fid"] != last["fid_test_only"]
    assert [item["step"] for item in document["curve"]] == [2, 3]
    assert document["curve"][-1]["fid"] == pytest.approx(last["fid"])
    assert document["best"]["chosen_by"] == "FID of 4 training images, among 2 students"
    assert document["images"]["n_fake"] == 3
    assert document["perceptual_network"] == "VGG16 of random weights"
    assert document["machine"] == {"device": "a GPU"}
    assert (tmp_path / "students" / "toy-dcd-s0.safetensors").exists()
    printed = table.tables(out)
    assert f"| dcd | 2 | 0.001G | 0.001G | {document['cost']['params']:,} | 5 |" in printed
    assert f"| 0 | a GPU | 50.0 | {last['fid']:.2f} | {last['fid_test_only']:.2f} |" in printed
    assert "| a GPU | 4 | gancomp | bf16 | compiled | 80.0 | 50.00 | 2.0 | 25.00 |" in printed


def benchmark() -> dict[str, Any]:
    def row(ms: float, rate: float) -> dict[str, float]:
        return {"median_ms": ms, "images_per_second": rate, "peak_memory_mb": 2048.0}

    return {
        "kind": "bench",
        "status": "done",
        "batches": {
            "1": {
                "contestants": {"literal": row(500.0, 2.0)},
                "sides": {"literal": {"format": "tf32", "compiled": False}},
            },
            "4": {
                "contestants": {"gancomp, bf16, compiled": row(80.0, 50.0)},
                "sides": {"gancomp, bf16, compiled": {"format": "bf16", "compiled": True}},
            },
        },
    }


def test_seeds_share_a_line_and_a_stand_in_is_named(tmp_path: Path) -> None:
    table = script("table")
    protocol = {"n_fake": 120, "n_real": 1474, "n_real_test_only": 140}
    for seed, fid in ((1, 60.0), (0, 50.0)):
        document = {
            "kind": "run",
            "variant": "dcd",
            "seed": seed,
            "status": "done",
            "images_per_second": 10.0,
            "plan": {"batch_size": 4, "lr": 4e-4, "epochs": 40, "precision": "bf16"},
            "cost": {"width": 16, "params": 137347, "macs": 1.4e9, "macs_torchprofile": 1.4e9},
            "machine": {"device": "a GPU"},
            "perceptual_network": script("score").name_features(
                {"source": "vgg16", "sha256": "0" * 64, "file": "other.safetensors"}, None
            ),
            "last": {"fid": fid, "fid_test_only": fid + 30, **protocol},
        }
        (tmp_path / f"dcd-s{seed}.json").write_text(json.dumps(document))
    text = table.tables(tmp_path)
    (line,) = [line for line in text.splitlines() if line.startswith("| dcd")]
    assert "| 0, 1 | a GPU | 10.0 (10.0 to 10.0) | 55.00 (50.00 to 60.00) |" in line
    assert line.endswith("| 85.00 (80.00 to 90.00) |  | VGG16 stand-in (other.safetensors) |")
    assert "The perceptual network is a stand-in" in text
    assert table.NO_BENCH in text
    official = {"source": "vgg16", "sha256": "397923af" + "0" * 56, "file": "vgg16.pth"}
    assert script("score").name_features(official, None) == "VGG16 of torchvision"


def test_the_readme_of_the_results_holds_the_tables_of_the_files_beside_it(tmp_path: Path) -> None:
    table = script("table")
    readme = (EXAMPLES / "results" / "README.md").read_text()
    held = readme.partition(table.BEGIN)[2].partition(table.END)[0].strip()
    assert held == table.tables(EXAMPLES / "results")
    assert table.tables(tmp_path) == f"### Runs\n\n{table.NO_RUNS}\n\n### Training step\n\n" + (
        table.NO_BENCH
    )
