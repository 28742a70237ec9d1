"""A page is one file: the generators and the runtime are in it, and nothing is loaded."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import run_command, write_model
from web_runtimes import BYTES, stand_in

from gancomp.errors import ConfigError
from gancomp.export.form import Form, exported_form
from gancomp.export.html_file import Entry, build_page, check_shown, names_of
from gancomp.export.model import LoadedModel
from gancomp.export.onnx_file import Onnx
from gancomp.export.parity import Parity
from gancomp.export.web_runtime import WASM, find_runtime
from gancomp.registry import build_network

SETTINGS = {"channels": [4, 4, 4, 4, 0, 0, 0, 0, 0, 4, 4]}  # one block of the six
MODEL_FACTS = {"parameters", "bytes", "about", "block", "channels", "name", "scale"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with both generators, and a stand-in for the runtime."""
    place = tmp_path_factory.mktemp("pages")
    (place / "run").mkdir()
    for role in ("teacher", "student"):
        file = place / "run" / f"{role}.safetensors"
        write_model(file, settings=SETTINGS, role=role, dataset="toy")
    stand_in(place / "runtime")
    return place


@pytest.fixture
def _untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing takes seconds; what it gives is tried in a browser."""

    def content(exporter: Onnx, model: LoadedModel, _: str) -> tuple[Form, bytes]:
        assert exporter.pixels
        exporter.found, exporter.checked = Parity(2e-6, 99.0, ((32, 32),)), {"levels": 1}
        return exported_form(model.network), onnx_of(model.path)

    monkeypatch.setattr(Onnx, "content", content)


def onnx_of(path: Path) -> bytes:
    return f"ONNX of {path.name}".encode()


def block(page: str, name: str) -> bytes:
    match = re.search(rf'<script type="application/octet-stream" id="{name}">(.*?)</script>', page)
    assert match
    return gzip.decompress(base64.b64decode(match[1]))


def facts(page: str) -> Any:
    match = re.search(r'<script type="application/json" id="facts">(.*?)</script>', page)
    assert match
    return json.loads(match[1])


@pytest.mark.usefixtures("_untraced")
def test_a_run_becomes_a_page_with_teacher_and_student_inside(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--runtime", folder / "runtime", "--json"]
    out = tmp_path / "new" / "page.html"
    outcome = run_command(capsys, "export", folder / "run", "-o", out, *given)
    assert outcome.status == 0, outcome.err
    assert [path.name for path in out.parent.iterdir()] == ["page.html"]
    assert outcome.document["checked"] == {"models": [{"levels": 1}] * 2}
    assert outcome.document["parity"] == 2e-6
    page = out.read_text()
    assert block(page, "runtime-wasm") == BYTES[WASM]
    found = facts(page)
    assert [item["name"] for item in found["models"]] == ["teacher", "student"]
    assert set(found["models"][0]) == MODEL_FACTS
    assert (found["kind"], found["size"]) == ("picture", 32)
    for number, name in enumerate(("teacher", "student")):
        inside = block(page, f"model-{number}")
        assert inside == onnx_of(Path(f"{name}.safetensors"))
        assert found["models"][number]["bytes"] == len(inside)
    assert not re.findall(r'(?:src|href)="(?!data:)|@import|url\((?!"data:)', page)
    addresses = set(re.findall(r"https?://[^\s\"'<]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # a name
    assert str(tmp_path) not in page

    alone = tmp_path / "alone.html"
    run_command(capsys, "export", folder / "run/student.safetensors", "-o", alone, *given)
    assert [item["name"] for item in facts(alone.read_text())["models"]] == ["student"]
    teacher = folder / "run/teacher.safetensors"
    again = tmp_path / "again.html"
    student = folder / "run/student.safetensors"
    run_command(capsys, "export", student, "--beside", teacher, "-o", again, *given)
    assert again.read_bytes() == out.read_bytes()


def loaded(arch: str, name: str = "a/b.safetensors", **settings: Any) -> LoadedModel:
    with torch.device("meta"):
        network = build_network(arch, width=4, **settings)
    return LoadedModel(network, {"input": {"size": [32, 32]}}, Path(name), "gancomp")


def test_noise_has_sliders_for_what_each_generator_knows(folder: Path) -> None:
    model = loaded("biggan", resolution=32, num_classes=3)
    entries = [Entry("x", model, exported_form_of(model), b"content")]
    found = facts(build_page(entries, find_runtime(folder / "runtime")))
    assert found["kind"] == "noise"
    size = found["models"][0]["latent"].pop("size")
    assert found["models"][0]["latent"] == {"drawn": size, "truncation": "threshold", "classes": 3}


def exported_form_of(model: LoadedModel) -> Any:
    with torch.device("cpu"):
        network = build_network(model.network.arch, **model.network.settings())
    return exported_form(network)


def test_generators_are_called_by_their_roles_or_else_by_their_files() -> None:
    models = [loaded("resnet6", f"{name}.safetensors") for name in ("r/a", "r/b", "s/b")]
    assert names_of(models[:1]) == ["generator"]
    assert names_of(models[:2]) == ["a", "b"]
    assert names_of(models[1:]) == ["r/b", "s/b"]
    assert names_of([models[0], models[0]]) == ["a 1", "a 2"]


def test_what_no_page_can_show_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"^-o x: a/b.* takes 4 channels and gives 3; .*\.onnx$"):
        check_shown([loaded("resnet6", in_channels=4)], "-o x")
    noise = loaded("biggan", "n.safetensors", resolution=32, num_classes=3)
    with pytest.raises(ConfigError, match="a/b.* out of images, n.* out of noise; .* two pages"):
        check_shown([loaded("resnet6"), noise], "-o x")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--pixels"], "--pixels: has no effect on html"),
        (["--runtime", "nowhere"], "--runtime nowhere: No such file or directory"),
        (["--beside", "nowhere.safetensors"], "error: --beside nowhere.safetensors: no such"),
        (["--format", "onnx", "--runtime", "."], "--runtime: has no effect on onnx"),
    ],
)
def test_a_wrong_invocation_is_one_line_and_writes_nothing(
    given: list[str],
    told: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "page.html"
    model = folder / "run/student.safetensors"
    outcome = run_command(capsys, "export", model, "-o", out, *given)
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert told in outcome.err
    assert not out.exists()
