"""`gancomp profile`: golden rows, what it shows without a model, and its ratios."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from commands import run_command, write_model

from gancomp.export.model import open_model
from gancomp.metrics.latency import time_in_turns
from gancomp.recipes.profile import profile_table
from gancomp.registry import build_network
from gancomp.scoring.scores import remember

# counted by hand for tests/metrics; torchprofile's rule as the papers' tables print it
GOLDEN = {
    ("resnet9", 64): (11_378_179, 49_551_507_456, 56_799_264_768),
    ("resnet9", 16): (715_651, 3_328_180_224, 3_781_165_056),
    ("mobile-resnet9", 64): (1_987_075, 11_066_671_104, 18_314_428_416),
    ("mobile-resnet9", 16): (137_347, 954_728_448, 1_407_713_280),
}


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("arch", "width"), GOLDEN)
def test_a_network_by_name_costs_what_the_tables_say(
    arch: str, width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--arch", arch, "--width", width, "--macs", "--json"]
    document = run_command(capsys, "profile", *arguments).document
    (row,) = document["models"]
    params, macs, by_torchprofile = GOLDEN[arch, width]
    assert row == {
        "role": "network",
        "arch": arch,
        "width": width,
        "params": params,
        "macs": macs,
        "macs_torchprofile": by_torchprofile,
        "bytes": 4 * params,
        "input": [1, 3, 256, 256],
        "macs_parts": {"convolutions": macs, "linear": 0, "products": 0, "filters": 0},
    }
    assert document.keys() == {"models"}


def test_without_a_model_or_a_run_the_default_pair_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    document = run_command(capsys, "profile", "--json").document
    rows = {row["role"]: row for row in document["models"]}
    for role, width in (("teacher", 64), ("student", 16)):
        figures = tuple(rows[role][name] for name in ("params", "macs", "macs_torchprofile"))
        assert figures == GOLDEN["mobile-resnet9", width]
    wanted = zip(GOLDEN["mobile-resnet9", 64], GOLDEN["mobile-resnet9", 16], strict=True)
    assert list(document["ratio"].values()) == pytest.approx([a / b for a, b in wanted])
    assert list(document["ratio"]) == ["params", "macs", "macs_torchprofile"]


def test_without_a_model_the_latest_run_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "runs" / "toy"
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    (run.parent / "latest").symlink_to("toy")
    write_model(run / "student.safetensors", width=4)
    write_model(run / "teacher.safetensors", width=8, role="teacher")
    document = run_command(capsys, "profile", "--json").document
    assert [(row["role"], row["width"]) for row in document["models"]] == [
        ("teacher", 8),
        ("student", 4),
    ]
    assert document["models"][1]["bytes"] == (run / "student.safetensors").stat().st_size
    assert [row["input"] for row in document["models"]] == [[1, 3, 32, 32]] * 2


def test_files_are_compared_in_their_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small, large = (write_model(tmp_path / f"{width}.safetensors", width=width) for width in (4, 8))
    document = run_command(capsys, "profile", small, large, "--size", 64, "--json").document
    first, last = document["models"]
    assert (first["width"], last["width"]) == (4, 8)
    assert first["input"] == [1, 3, 64, 64]
    assert document["ratio"]["macs"] == first["macs"] / last["macs"] < 1
    three = run_command(capsys, "profile", small, large, small, "--json").document
    assert len(three["models"]) == 3
    assert "ratio" not in three


def test_macs_are_for_the_whole_batch(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["profile", "--arch", "mobile-resnet6", "--width", 4, "--size", 32, "--json"]
    one = run_command(capsys, *command).document["models"][0]
    three = run_command(capsys, *command, "--batch-size", 3).document["models"][0]
    assert three["macs"] == 3 * one["macs"]
    assert three["params"] == one["params"]
    assert three["input"] == [3, 3, 32, 32]


def test_norm_and_input_channels_are_those_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["profile", "--arch", "resnet6", "--width", 4, "--size", 32, "--json"]
    usual = run_command(capsys, *command).document["models"][0]
    other = run_command(capsys, *command, "--norm", "batch", "--in-channels", 1).document
    assert other["models"][0]["input"] == [1, 1, 32, 32]
    network = build_network("resnet6", width=4, norm="batch", in_channels=1)
    assert other["models"][0]["params"] == sum(item.numel() for item in network.parameters())
    assert other["models"][0]["params"] != usual["params"]


def test_a_checkpoint_of_others_is_profiled_like_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(build_network("resnet6", width=4).state_dict(), tmp_path / "latest_net_G.pth")
    (row,) = run_command(capsys, "profile", tmp_path / "latest_net_G.pth", "--json").document[
        "models"
    ]
    assert (row["arch"], row["width"], row["input"]) == ("resnet6", 4, [1, 3, 256, 256])
    assert row["bytes"] == (tmp_path / "latest_net_G.pth").stat().st_size


@pytest.mark.parametrize(
    ("arguments", "width", "params", "shapes"),
    [
        (["stylegan2", "--width", 256, "--size", 1024], 256, 11_064_988, ([1, 512], 1024)),
        (["stylegan2"], 512, 30_034_338, ([1, 512], 256)),
        (["stylegan2-discriminator", "--size", 1024], 512, 29_012_513, ([1, 3, 1024, 1024], 0)),
        (["biggan", "--width", 48, "--size", 128], 48, 18_383_460, ([1, 120], 128)),
        (["biggan"], 96, 70_433_988, ([1, 120], 128)),
        (["biggan-discriminator", "--width", 48], 48, 22_383_698, ([1, 3, 128, 128], 0)),
    ],
)
def test_synthesis_networks_are_built_for_the_size_asked_for(
    arguments: list[object],
    width: int,
    params: int,
    shapes: tuple[list[int], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    document = run_command(capsys, "profile", "--arch", *arguments, "--macs", "--json").document
    (row,) = document["models"]
    assert (row["arch"], row["width"], row["params"]) == (arguments[0], width, params)
    assert row["input"] == shapes[0]
    assert row["output"] == ([1, 3, shapes[1], shapes[1]] if shapes[1] else [1, 1])
    parts = row["macs_parts"]
    assert row["macs"] == parts["convolutions"] + parts["linear"] + parts["products"] > 0
    assert bool(parts["filters"]) == ("stylegan2" in row["arch"])
    assert bool(parts["products"]) == ("biggan" in row["arch"])


def test_the_table_has_a_line_for_each_kind_of_work_of_a_synthesis_network(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = run_command(capsys, "profile", "--arch", "biggan", "--width", 48).out
    for figure in ("5,164,498,944", "1,339,776", "251,658,240", "1x120", "1x3x128x128"):
        assert figure in shown
    assert "fixed filters" not in shown
    assert "original" not in shown
    assert "fixed filters" in run_command(capsys, "profile", "--arch", "stylegan2").out
    assert "of it" not in run_command(capsys, "profile", "--arch", "resnet6").out


@pytest.mark.parametrize("arch", ["biggan", "biggan-discriminator", "stylegan2"])
def test_latency_of_synthesis_networks_is_measured_on_inputs_of_theirs(
    arch: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--arch", arch, "--width", 4, "--size", 32, "--latency", "--device", "cpu"]
    (row,) = run_command(capsys, "profile", *arguments, "--json").document["models"]
    assert row["latency_ms"] > 0
    assert row["latency_eager_ms"] > 0


@pytest.mark.parametrize("size", [64, 100])
def test_a_synthesis_model_is_profiled_at_its_own_size_only(
    size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = build_network("biggan", width=2, resolution=32, num_classes=3)
    torch.save(network.state_dict(), tmp_path / "G_ema.pth")
    outcome = run_command(capsys, "profile", tmp_path / "G_ema.pth", "--size", size)
    assert outcome.status == 2
    assert f"--size {size}: this biggan is made for images of 32 pixels" in outcome.err
    at_it = run_command(capsys, "profile", tmp_path / "G_ema.pth", "--size", 32, "--json")
    assert at_it.document["models"][0]["output"] == [1, 3, 32, 32]


def test_the_table_compares_with_the_original_of_the_papers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcome = run_command(capsys, "profile")
    assert (outcome.status, outcome.err) == (0, "")
    for figure in ("1,987,075", "137,347", "11,066,671,104", "1,407,713,280", "14.47x", "13.01x"):
        assert figure in outcome.out
    assert "against ResNet-9 width 64" in outcome.out


def test_latency_is_added_with_device_and_threads(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--arch", "mobile-resnet6", "--width", 4, "--size", 32, "--latency"]
    document = run_command(capsys, "profile", *arguments, "--threads", 1, "--json").document
    (row,) = document["models"]
    low, high = row["latency_range_ms"]
    assert 0 < low <= row["latency_ms"] <= high
    assert row["latency_eager_ms"] > 0
    assert document["latency"]["threads"] == 1
    assert "float32" in document["latency"]["backend"]
    assert document["latency"]["device"] in ("cpu", "cuda")


def test_what_is_timed_is_what_gancomp_runs_and_plain_eager_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = [write_model(tmp_path / f"{width}.safetensors", width=width) for width in (4, 2)]
    command = ["profile", *models, "--latency", "--device", "cpu", "--threads", 1]
    document = run_command(capsys, *command, "--json").document
    backend = document["latency"]["backend"]
    assert "eager in channels_last, rewritten: tiled head, in place" in backend
    large, small = document["models"]
    assert document["ratio"]["latency_ms"] == large["latency_ms"] / small["latency_ms"]
    shown = run_command(capsys, *command).out
    assert "ms in plain eager" in shown
    assert "1 threads" in " ".join(shown.split())


def test_networks_are_timed_in_turns_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gancomp.metrics.latency.SHORT_MS", math.inf)
    order: list[str] = []
    contestants = {name: partial(order.append, name) for name in ("teacher", "student")}
    found = time_in_turns(contestants, num_runs=3, warm_up=1, settled=True)
    timed = ["teacher", "teacher", "student", "student"]  # untimed once before
    assert order == ["teacher", "student", *timed * 3]
    assert {name: item.num_runs for name, item in found.items()} == {"teacher": 3, "student": 3}


def test_the_newest_score_of_the_same_step_is_shown_beside_the_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "student.safetensors")
    step = open_model(model).header["step"]
    for fid, at in ((50.0, step), (40.0, step), (30.0, -1)):
        score = {"fid": fid, "real": str(fid), "fake": str(model), "protocol": {"step": at}}
        remember(tmp_path, score, print)
    profile_table([model])
    shown = capsys.readouterr().out
    assert "40.00" in shown
    assert "30.00" not in shown


def test_srgans_pair_costs_what_its_tables_say(capsys: pytest.CaptureFixture[str]) -> None:
    line = "profile --arch srresnet --width 64 --size 24 --macs --json"
    (teacher,) = run_command(capsys, *line.split()).document["models"]
    line = "profile --arch srresnet --width 32 --blocks 8 --size 24 --macs --json"
    (student,) = run_command(capsys, *line.split()).document["models"]
    assert (teacher["params"], student["params"]) == (1_550_659, 248_227)
    # the printed 1.278 G and 0.273 G are true MACs; torchprofile's rule gives 1.279 G
    assert (teacher["macs"], student["macs"]) == (1_277_669_376, 272_553_984)
    assert teacher["macs_torchprofile"] == 1_278_885_888


def test_scale_is_another_setting_of_the_network(capsys: pytest.CaptureFixture[str]) -> None:
    line = "profile --arch srresnet --width 4 --blocks 1 --scale 2 --size 8"
    outcome = run_command(capsys, *line.split())
    assert outcome.status == 0
    assert "against ResNet-9" not in outcome.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--arch srresnet --blocks 1000000", "--blocks 1000000: must be 512 or less"),
        ("--arch resnet9 --width 2147483648", "--width 2147483648: must be 8,192 or less"),
        ("--arch stylegan2 --width 999999999999999999999", "must be 8,192 or less"),
        ("--arch patchgan --in-channels 2147483648", "--in-channels 2147483648: must be 8,192"),
        ("--arch biggan --width 2147483648", "--width 2147483648: must be 8,192 or less"),
    ],
)
def test_sizes_beyond_every_network_are_refused_before_anything_is_built(
    options: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run_command(capsys, "profile", *options.split())
    assert outcome.status == 2
    assert message in outcome.err
