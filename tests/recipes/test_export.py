"""`gancomp export`: a file that opens by itself, the same bytes every time."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import run_command, write_model
from safetensors import safe_open
from safetensors.torch import save_file

from gancomp.export.model import open_model
from gancomp.networks.base import initialize
from gancomp.registry import build_network
from gancomp.seeding import derive_generator


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder with both generators."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_model(folder / "teacher.safetensors", width=8, role="teacher")
    write_model(folder / "student.safetensors", width=4, dataset="toy", direction="BtoA")
    return folder


def test_the_document_describes_the_file(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run.parent / "new" / "out.safetensors"
    document = run_command(capsys, "export", run, "-o", out, "--json").document
    content = out.read_bytes()
    assert document == {
        "file": str(out),
        "format": "safetensors",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "parity": 0.0,
    }


def test_a_run_stands_for_its_student_and_the_header_goes_along(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run.parent / "out.safetensors"
    assert run_command(capsys, "export", run, "-o", out).status == 0
    before, after = open_model(run / "student.safetensors"), open_model(out)
    assert after.header == before.header
    assert (after.header["role"], after.header["dataset"]) == ("student", "toy")
    for name, tensor in before.network.state_dict().items():
        assert torch.equal(after.network.state_dict()[name], tensor)


def test_a_run_without_a_student_stands_for_its_teacher(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "student.safetensors").unlink()
    out = run.parent / "out.safetensors"
    run_command(capsys, "export", run, "-o", out)
    assert open_model(out).header["role"] == "teacher"


def test_equal_models_give_equal_bytes(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = [run.parent / f"{name}.safetensors" for name in "ab"]
    for path in out:
        run_command(capsys, "export", run, "-o", path)
    # exporting an export changes nothing either
    again = run.parent / "c.safetensors"
    run_command(capsys, "export", out[0], "-o", again)
    assert len({path.read_bytes() for path in [*out, again]}) == 1


def test_the_suffix_may_be_any_if_the_format_is_given(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run.parent / "weights"
    outcome = run_command(capsys, "export", run, "-o", out, "--format", "safetensors")
    assert outcome.status == 0
    assert open_model(out).network.width == 4


def with_header(path: Path, **entries: Any) -> None:
    """Writes a model whose header has these entries instead; `...` leaves one out."""
    write_model(path)
    with safe_open(str(path), framework="pt") as file:
        header = json.loads(file.metadata()["gancomp"])
        names = file.keys()
        tensors = {name: file.get_tensor(name) for name in names}
    header = {name: value for name, value in (header | entries).items() if value is not ...}
    save_file(tensors, path, metadata={"gancomp": json.dumps(header)})


@pytest.mark.parametrize("entry", ["role", "task", "step", "method", "dataset", "direction"])
def test_an_entry_that_is_missing_in_the_header_is_none(
    entry: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_header(tmp_path / "model.safetensors", **{entry: ...})
    assert open_model(tmp_path / "model.safetensors").header[entry] is None
    for command in (["profile"], ["export", "-o", tmp_path / "out.safetensors"]):
        assert run_command(capsys, *command, tmp_path / "model.safetensors").status == 0


@pytest.mark.parametrize(
    "entries",
    [
        {"input": {}},
        {"input": {"size": [32]}},
        {"input": {"size": [0, 32]}},
        {"input": {"size": ["a", "b"]}},
        {"input": {"size": [1e9, 1e9]}},
        {"input": {"size": [10**9, 10**9]}},
        {"role": 5},
        {"task": []},
        {"step": "x"},
        {"dataset": {}},
        {"settings": {"width": 10**9}},
        {"settings": {"width": -1}},
        {"arch": 3},
        {"arch": ...},
    ],
    ids=str,
)
@pytest.mark.parametrize("command", ["profile", "export"])
def test_a_header_that_makes_no_sense_is_refused_in_one_line(
    command: str, entries: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "model.safetensors", tmp_path / "out.safetensors"
    with_header(path, **entries)
    outcome = run_command(capsys, command, path, *(["-o", out] if command == "export" else []))
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {path}: ")
    assert outcome.err.count("\n") == 1
    assert "export the model again" in outcome.err
    assert not out.exists()


def test_a_checkpoint_of_others_becomes_a_file_of_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = build_network("resnet6", width=4)
    initialize(network, derive_generator(0, "test"))
    parts = {name: network.state_dict() for name in ("G_A", "G_B")}
    torch.save(parts, tmp_path / "latest_net.pth")
    out = tmp_path / "out.safetensors"
    outcome = run_command(capsys, "export", tmp_path / "latest_net.pth", "-o", out, "--part", "G_B")
    assert outcome.status == 0
    model = open_model(out)
    assert (model.origin, model.header["role"]) == ("gancomp", "generator")
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        assert torch.equal(model.network(images), network.eval()(images))
