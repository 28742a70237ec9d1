"""Programs of `torch.export`: the same images at any size, and nothing that could run code."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import run_command, write_model
from PIL import Image

from gancomp.__main__ import run
from gancomp.export.deployed import open_deployed
from gancomp.export.model import open_model
from gancomp.networks.inference import run_generator

MODEL = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
HEADER = "extra/gancomp"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture, a model and two exports of it."""
    place = tmp_path_factory.mktemp("pt2")
    write_model(place / "model.safetensors", "srresnet", settings={"blocks": 1}, task=None)
    draws = np.random.default_rng(0)
    Image.fromarray(draws.integers(0, 256, (9, 12, 3), np.uint8)).save(place / "picture.png")
    for name in ("a", "b"):
        model = str(place / "model.safetensors")
        assert run(["export", model, "-o", str(place / f"{name}.pt2")]) == 0
    return place


def test_two_exports_are_equal_and_tell_nothing_of_this_machine(folder: Path) -> None:
    first, second = ((folder / f"{name}.pt2").read_bytes() for name in "ab")
    assert first == second
    assert not [word for word in (str(folder), sys.prefix, ".py") if word.encode() in first]


def test_the_file_gives_the_same_images_at_any_size_and_batch(folder: Path) -> None:
    deployed = open_deployed(folder / "a.pt2").network
    network = open_model(folder / "model.safetensors").network
    assert deployed.session().inputs[0].shape == (None, 3, None, None)  # type: ignore[operator]
    for shape in ((1, 3, 1, 1), (3, 3, 9, 12)):
        images = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
        wanted = run_generator(network, images)
        torch.testing.assert_close(run_generator(deployed, images), wanted, rtol=0, atol=1e-5)


def test_commands_open_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = run_command(capsys, "profile", folder / "a.pt2", "--size", 16, "--json").document
    assert document["models"][0]["runtime"].startswith("torch.export, torch ")
    arguments = folder / "a.pt2", folder / "picture.png", "-o", folder / "out"
    assert run_command(capsys, "translate", *arguments).status == 0
    assert Image.open(folder / "out/picture.png").size == (48, 36)


def rewritten(good: Path, bad: Path, changes: dict[str, Callable[[Any], None]]) -> None:
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as target:
        for item in source.infolist():
            content = source.read(item)
            root, _, name = item.filename.partition("/")
            if name in changes:
                document = json.loads(content)
                changes[name](document)
                content = json.dumps(document).encode()
            target.writestr(item.filename, content)
        for name in changes.keys() - {MODEL, WEIGHTS, HEADER}:
            target.writestr(f"{root}/{name}", b"cos\nsystem\n")


def first_node(document: Any) -> Any:
    return document["graph_module"]["graph"]["nodes"][0]


def conditions(document: Any) -> None:
    document["guards_code"] = ["open('pwned', 'w')"]


def sizes(document: Any) -> None:
    document["range_constraints"]["__import__('os').system('touch pwned')"] = {}


def nested_sizes(document: Any) -> None:
    document["graph_module"]["graph"]["note"] = {"expr_str": "Symbol('s1').func(open)"}


def operations(document: Any) -> None:
    first_node(document)["target"] = "torch.ops.aten.from_file.default"


def functions(document: Any) -> None:
    first_node(document)["target"] = "os.system"


def pickled(document: Any) -> None:
    next(iter(document["config"].values()))["use_pickle"] = True


def narrower(header: Any) -> None:
    header["settings"]["width"] = 3


def deeper(header: Any) -> None:
    header["settings"]["blocks"] = 2


def another(header: Any) -> None:
    header.update(arch="mobile-resnet6", settings={"width": 4})


def unknown(header: Any) -> None:
    header["export"]["precision"] = "int3"


@pytest.mark.parametrize(
    "changes",
    [
        {HEADER: narrower},
        {HEADER: deeper},
        {HEADER: another},
        {HEADER: unknown},
        {MODEL: conditions},
        {MODEL: sizes},
        {MODEL: nested_sizes},
        {MODEL: operations},
        {MODEL: functions},
        {WEIGHTS: pickled},
        {"data/constants/custom_obj_0": print},
        {MODEL: dict.clear},
    ],
)
def test_what_could_run_code_is_damaged_or_lies_is_one_line(
    changes: dict[str, Callable[[Any], None]],
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    rewritten(folder / "a.pt2", tmp_path / "bad.pt2", changes)
    outcome = run_command(capsys, "translate", "bad.pt2", folder / "picture.png", "-o", "out")
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
    assert "bad.pt2: damaged exported file" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pt2"]


def test_a_torn_file_and_an_export_of_an_export_are_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = tmp_path / "torn.pt2"
    torn.write_bytes((folder / "a.pt2").read_bytes()[:5000])
    shutil.copy(folder / "a.pt2", tmp_path / "again.pt2")
    for words, named in (
        (("translate", torn, folder / "picture.png", "-o", tmp_path / "out"), "torn.pt2"),
        (("export", tmp_path / "again.pt2", "-o", tmp_path / "x.pt2"), "give the .safetensors"),
        (("export", folder / "model.safetensors", "-o", tmp_path / "x.pt2", "--pixels"), "onnx or"),
    ):
        outcome = run_command(capsys, *words)
        assert (outcome.status, outcome.err.count("\n")) == (2, 1)
        assert named in outcome.err
