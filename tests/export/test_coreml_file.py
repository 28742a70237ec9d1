"""Core ML's packages: the same bytes every time, named inputs, and nobody claims that they ran."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from commands import run_command, write_model
from PIL import Image

BLOCK = {"channels": [4, 4, 4, 4, 0, 0, 0, 0, 0, 4, 4]}  # one of the six


def test_a_package_cannot_run_here_and_a_missing_extra_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "model.safetensors", settings=BLOCK)
    package = tmp_path / "student.mlpackage"
    package.mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "picture.png")
    monkeypatch.setitem(sys.modules, "coremltools", None)
    for words, named in (
        (
            ("translate", package, tmp_path / "picture.png", "-o", tmp_path / "out"),
            "Apple's systems alone",
        ),
        (("profile", package), "Apple's systems alone"),
        (("export", package, "-o", tmp_path / "x.pt2"), "give the .safetensors"),
        (("export", model, "-o", tmp_path / "x.mlpackage"), 'pip install "gancomp[coreml]"'),
        (("export", model, "-o", tmp_path / "x.onnx", "--size", "64"), "executorch or coreml"),
    ):
        outcome = run_command(capsys, *words)
        assert (outcome.status, outcome.err.count("\n")) == (2, 1)
        assert named in outcome.err


def test_two_packages_are_equal_and_say_what_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("coremltools", reason="needs the extra coreml")
    from coremltools.proto.Model_pb2 import Model

    model = write_model(tmp_path / "model.safetensors", settings=BLOCK)
    documents = [
        run_command(
            capsys, "export", model, "-o", tmp_path / name, "--size", "16x32", "--json"
        ).document
        for name in ("a.mlpackage", "b.mlpackage", "a.mlpackage")  # over the first, too
    ]
    assert len({document["sha256"] for document in documents}) == 1
    assert documents[0]["parity"] is None
    assert documents[0]["checked"]["by"].endswith("converted, not run")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.mlpackage",
        "b.mlpackage",
        "model.safetensors",
    ]
    content = (tmp_path / "a.mlpackage/Data/com.apple.CoreML/model.mlmodel").read_bytes()
    assert not [word for word in (str(tmp_path), sys.prefix, ".py") if word.encode() in content]
    described = Model.FromString(content).description
    (given,), (made,) = described.input, described.output
    assert (given.name, list(given.type.multiArrayType.shape)) == ("image", [1, 3, 16, 32])
    assert (made.name, list(made.type.multiArrayType.shape)) == ("output", [1, 3, 16, 32])
    header = json.loads(described.metadata.userDefined["gancomp"])
    assert header["arch"] == "mobile-resnet6"
    assert header["input"]["size"] == [16, 32]
    (tmp_path / "mine.mlpackage").mkdir()
    outcome = run_command(capsys, "export", model, "-o", tmp_path / "mine.mlpackage")
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
