"""OpenVINO's files: two that belong together, the same bytes every time; nothing is reported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import run_command, write_model
from PIL import Image

from gancomp.export import openvino_file
from gancomp.export.deployed import open_deployed
from gancomp.export.form import exported_form
from gancomp.export.model import open_model
from gancomp.export.openvino_file import OpenVino, with_header, without_header

pytest.importorskip("openvino", reason="needs the extra openvino")
pytest.importorskip("onnxscript", reason="needs the extra openvino")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and its exports in both precisions."""
    place = tmp_path_factory.mktemp("openvino")
    settings = {"channels": [4, 4, 4, 4, 0, 0, 0, 0, 0, 4, 4]}  # one block of the six
    model = open_model(write_model(place / "model.safetensors", settings=settings))
    traced = openvino_file.onnx_graph(model, "-o a.xml", extra="openvino")
    (place / "a.onnx").write_bytes(traced[1])
    with pytest.MonkeyPatch.context() as patch:  # tracing takes seconds, and is the same each time
        patch.setattr(openvino_file, "onnx_graph", lambda *_, **__: traced)
        for name, precision in (("a", "fp32"), ("b", "fp32"), ("half", "bf16")):
            OpenVino(precision=precision).write(model, place / f"{name}.xml")
        OpenVino(size=(16, 32)).write(model, place / "one.xml")
    return place


def test_two_exports_are_equal_and_tell_nothing_of_this_machine(folder: Path) -> None:
    for suffix in ("xml", "bin"):
        first, second = ((folder / f"{name}.{suffix}").read_bytes() for name in "ab")
        assert first == second
        assert not [word for word in (str(folder), sys.prefix, ".py") if word.encode() in first]


def test_bf16_files_hold_half_of_the_weights_and_say_so(folder: Path) -> None:
    sizes = [(folder / f"{name}.bin").stat().st_size for name in ("a", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    _, header = without_header((folder / "half.xml").read_bytes())
    assert json.loads(header or "")["export"]["precision"] == "bf16"
    assert "bf16" in open_deployed(folder / "half.xml").network.how


def test_translate_writes_what_the_model_itself_gives(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draws = np.random.default_rng(0)
    Image.fromarray(draws.integers(0, 256, (30, 41, 3), np.uint8)).save(tmp_path / "picture.png")
    found = {}
    for name in ("model.safetensors", "a.xml", "half.xml"):
        arguments = (folder / name, tmp_path / "picture.png", "-o", tmp_path / name)
        assert run_command(capsys, "translate", *arguments).status == 0
        found[name] = np.asarray(Image.open(tmp_path / name / "picture.png")).astype(int)
    assert np.abs(found["a.xml"] - found["model.safetensors"]).max() <= 1
    assert np.abs(found["half.xml"] - found["model.safetensors"]).max() <= 20


def test_a_file_of_one_size_says_so_and_gives_the_same_images_of_it(folder: Path) -> None:
    one, every = (open_deployed(folder / f"{name}.xml").network for name in ("one", "a"))
    assert (one.fixed_size, every.fixed_size) == ((16, 32), None)
    images = torch.rand((3, 3, 16, 32), generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.allclose(one(images), every(images), atol=1e-5)  # sums in another order


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("translate", "{one}", "{pictures}", "-o", "{out}"), "16x32"),
        (("export", "{model}", "-o", "{out}.xml", "--size", "18"), "multiples of 4"),
        (("export", "{model}", "-o", "{out}.xml", "--size", "16", "--pixels"), "--size 16"),
    ],
)
def test_another_size_than_can_be_is_one_line(
    words: tuple[str, ...],
    named: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "pictures/a.png")
    places = {
        "one": folder / "one.xml",
        "model": folder / "model.safetensors",
        "pictures": tmp_path / "pictures",
        "out": tmp_path / "out",
    }
    form = exported_form(open_model(places["model"]).network)
    traced = form, (folder / "a.onnx").read_bytes()
    monkeypatch.setattr(openvino_file, "onnx_graph", lambda *_, **__: traced)
    outcome = run_command(capsys, *(word.format(**places) for word in words))
    assert outcome.status == 2
    assert named in outcome.err.splitlines()[-1]


@pytest.mark.parametrize("missing", ["bin", "xml"])
def test_one_of_the_two_files_alone_is_one_line(
    missing: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = "xml" if missing == "bin" else "bin"
    (tmp_path / f"a.{kept}").write_bytes((folder / f"a.{kept}").read_bytes())
    outcome = run_command(capsys, "translate", tmp_path / "a.xml", folder, "-o", tmp_path / "out")
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1


def lying(change: Callable[[dict[str, Any]], None]) -> Callable[[bytes], bytes]:
    def lie(content: bytes) -> bytes:
        xml, text = without_header(content)
        header = json.loads(text or "")
        change(header)
        return with_header(xml, json.dumps(header))

    return lie


def narrower(header: dict[str, Any]) -> None:
    header["settings"]["channels"] = [4, 4, 4, 2, 0, 0, 0, 0, 0, 4, 4]


def other(header: dict[str, Any]) -> None:
    header.update(arch="srresnet", settings={"width": 4})


def unknown(header: dict[str, Any]) -> None:
    header["export"]["precision"] = "int3"


DAMAGES: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "torn xml": ("xml", lambda content: content[:5000]),
    "torn bin": ("bin", lambda content: content[:5000]),
    "empty xml": ("xml", lambda content: b""),
    "flipped bin": ("bin", lambda content: bytes([content[0] ^ 255]) + content[1:]),
    "no header": ("xml", lambda content: without_header(content)[0]),
    "narrower": ("xml", lying(narrower)),
    "another network": ("xml", lying(other)),
    "unknown precision": ("xml", lying(unknown)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_or_one_that_lies_is_one_line(
    damage: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    which, change = DAMAGES[damage]
    for suffix in ("xml", "bin"):
        content = (folder / f"a.{suffix}").read_bytes()
        (tmp_path / f"bad.{suffix}").write_bytes(change(content) if suffix == which else content)
    Image.new("RGB", (16, 16)).save(tmp_path / "picture.png")
    words = tmp_path / "bad.xml", tmp_path / "picture.png", "-o", tmp_path / "out"
    outcome = run_command(capsys, "translate", *words)
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert outcome.err.startswith(f"error: {tmp_path / 'bad.xml'}: ")
    assert "export it again" in outcome.err
    assert not (tmp_path / "out").exists()


def test_the_weights_alone_name_the_file_they_belong_to(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run_command(capsys, "profile", folder / "a.bin")
    assert outcome.status == 2
    assert outcome.err == f"error: {folder / 'a.bin'}: holds the weights of a.xml; give that\n"


def test_importing_openvino_reports_to_nobody() -> None:
    code = (
        "import sys; from gancomp.export.extras import needed; needed('openvino', 'openvino', '');"
        "assert sys.modules['openvino_telemetry'] is None;"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry.')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
