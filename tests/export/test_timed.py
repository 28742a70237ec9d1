"""Generators in the form that will be deployed, which are run without being written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from builders import small_generator
from commands import run_command, write_model

from gancomp.errors import ConfigError
from gancomp.export.timed import MOST_KEPT, DeployedForm
from gancomp.registry import EXPORTERS, build_network, resolve


@pytest.mark.parametrize(("format", "package"), [("onnx", "onnxruntime"), ("pt2", "torch")])
def test_a_generator_gives_its_own_images_in_every_form(format: str, package: str) -> None:
    pytest.importorskip(package, reason=f"needs the extra {format}")
    network = build_network("srresnet", width=2, blocks=1, scale=2).eval()
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    form = DeployedForm(format)
    assert form.name == f"{format} fp32"
    deployed = form(network, 32)
    with torch.inference_mode():
        torch.testing.assert_close(deployed(images), network(images), rtol=0, atol=1e-3)
    assert "fp32" in deployed.how
    assert form(network, 32) is deployed


def test_few_generators_are_kept_open(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    def opener(self: object, model: object, named: str) -> object:
        opened.append(1)
        return None

    monkeypatch.setattr(resolve(EXPORTERS, "format", "pt2"), "opener", opener)
    form = DeployedForm("pt2")
    for width in (*range(1, MOST_KEPT + 2), 2, 1):  # of which the first was dropped
        form(small_generator(width), 32)
    assert len(opened) == MOST_KEPT + 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("opnvino",), "`budget_format` opnvino: unknown; did you mean openvino"),
        (("html",), "`budget_format` html: is not timed; choose onnx, openvino, pt2, executorch"),
        (("pt2", "bf16"), "`budget_precision` bf16: has no effect on pt2; remove it"),
    ],
)
def test_what_is_not_timed_is_refused(given: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        DeployedForm(*given)
    assert said in str(caught.value)


def test_bf16_is_refused_where_the_processor_does_not_compute_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gancomp.export.timed.needed", lambda *given: None)
    monkeypatch.setattr("gancomp.export.timed.has_bf16", lambda: False)
    with pytest.raises(ConfigError, match="`budget_precision` bf16: this machine's processor"):
        DeployedForm("openvino", "bf16")


@pytest.mark.parametrize("command", ["shrink", "distill"])
def test_a_missing_extra_costs_one_line_before_anything_else(
    command: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.chdir(tmp_path)
    how = f"--budget 10ms --budget-format onnx --out {command}"
    typed = {
        "shrink": f"shrink nowhere.safetensors --by width {how}.safetensors",
        "distill": f"distill --dataset nowhere --shrink width {how}",
    }[command]
    outcome = run_command(capsys, *typed.split())
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err == (
        'error: --budget-format onnx: needs the package onnx; pip install "gancomp[onnx]"\n'
    )
    assert list(tmp_path.iterdir()) == []


def test_a_budget_of_a_form_is_measured_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openvino", reason="needs the extra openvino")
    teacher = write_model(tmp_path / "teacher.safetensors", width=1, input_size=(32, 32))
    out = tmp_path / "student.safetensors"
    typed = f"shrink {teacher} --by width --budget 10s --budget-format openvino -o {out} --json"
    outcome = run_command(capsys, *typed.split())
    assert outcome.status == 0, outcome.err
    document = outcome.document
    assert document["settings"]["width"] == 1
    assert document["runtime"].startswith("openvino")
    assert document["shrink"]["runtime"] == document["runtime"]
    assert document["runtime"] in outcome.err
    assert 0 < document["student"]["ms"] < 10_000
