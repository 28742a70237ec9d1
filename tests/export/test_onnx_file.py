"""ONNX files: one, the same bytes every time, checked, and no trace of where they were made."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import run_command, write_model
from torch import Tensor, nn

from gancomp.export.form import exported_form
from gancomp.export.model import LoadedModel, open_model
from gancomp.export.onnx_file import Onnx
from gancomp.export.parity import ExportError, Parity, measure_parity, rounded_up
from gancomp.networks.base import SequentialNetwork, TappedNetwork

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
runtime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("onnxscript", reason="needs the extra onnx")

ONE_BLOCK = [4, 4, 4, 4, 0, 0, 0, 0, 0, 4, 4]  # of the six
CASES: dict[str, dict[str, Any]] = {
    "mobile-resnet6": {"channels": ONE_BLOCK},
    "unet128": {},
    "srresnet": {"blocks": 1},
    "stylegan2": {
        "resolution": 16,
        "style_channels": 8,
        "const_channels": 8,
        "mapping_layers": 1,
    },
    "biggan": {"resolution": 32, "num_classes": 3},
}


@pytest.mark.parametrize("arch", CASES)
@pytest.mark.slow
def test_every_kind_of_generator_becomes_one_file_with_open_sizes(
    arch: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "model.safetensors", arch, settings=CASES[arch])
    folder = tmp_path / "new"
    outcome = run_command(capsys, "export", model, "-o", folder / "model.onnx", "--json")
    document = outcome.document
    assert outcome.status == 0, outcome.err
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]
    assert 0 <= document["parity"] < 1e-4
    assert document["checked"]["batch_sizes"] == [1, 2]
    assert len(document["checked"]["sizes"]) == (1 if arch in ("stylegan2", "biggan") else 3)
    graph = onnx.load(folder / "model.onnx").graph
    batch = {item.type.tensor_type.shape.dim[0].dim_param for item in (*graph.output,)}
    assert batch == {"batch"}


@pytest.mark.slow
def test_two_exports_are_equal_and_tell_nothing_of_this_machine(tmp_path: Path) -> None:
    settings = {"channels": ONE_BLOCK}
    model = open_model(write_model(tmp_path / "model.safetensors", settings=settings))
    files = [tmp_path / name for name in ("a.onnx", "b.onnx")]
    for path in files:
        Onnx().write(model, path)
    first, second = (path.read_bytes() for path in files)
    assert first == second
    assert not [word for word in (str(tmp_path), sys.prefix, ".py") if word.encode() in first]


def test_a_network_of_a_plug_in_is_exported_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "plugin"))
    network = importlib.import_module("gancomp_sharp.network").plain_net(4)
    exporter = Onnx()
    exporter.write(loaded(network), tmp_path / "out.onnx")
    assert exporter.checked is not None
    assert exporter.checked["sizes"] == [[64, 128], [128, 64], [16, 16]]
    assert (exporter.parity(loaded(network), tmp_path / "out.onnx") or 0) < 1e-5


class Frozen(SequentialNetwork):
    """A network that asks for the length of a batch, as a Python number."""

    default_taps = ()
    size_multiple = 4

    def __init__(self) -> None:
        super().__init__("frozen", {"width": 2})
        self.width, self.tap_channels = 2, {}
        self.model = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1))

    def forward(self, images: Tensor, *_: Any, **__: Any) -> Tensor:
        output: Tensor = self.model(images)
        return output.reshape(int(len(images)), *output.shape[1:])


def loaded(network: TappedNetwork) -> LoadedModel:
    header = {"role": "student", "input": {"size": [16, 16]}}
    return LoadedModel(network.eval(), header, Path("x.safetensors"), "gancomp")


def test_a_network_that_freezes_its_batch_is_refused_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    with pytest.raises(ExportError, match="frozen"):
        Onnx().write(loaded(Frozen()), tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


def test_a_file_whose_images_differ_is_refused() -> None:
    network = Frozen().eval()
    form = exported_form(network)

    def run(inputs: Any, error: float) -> Any:
        with torch.no_grad():
            return network(torch.from_numpy(inputs[0])).numpy() + np.float32(error)

    found = measure_parity(network, form, lambda inputs: run(inputs, 5e-4), (16, 16))
    assert found == Parity(pytest.approx(5e-4, rel=0.01), pytest.approx(72.1, abs=0.1), found.sizes)
    with pytest.raises(ExportError, match=r"differs from PyTorch by 0\.002"):
        measure_parity(network, form, lambda inputs: run(inputs, 2e-3), (16, 16))
    with pytest.raises(ExportError, match="finite"):
        measure_parity(network, form, lambda inputs: run(inputs, float("nan")), (16, 16))


@pytest.mark.parametrize(("found", "told"), [(0.0, 0.0), (3e-6, 1e-5), (9e-5, 1e-4)])
def test_what_a_file_says_of_its_parity_does_not_hang_on_the_last_digit(
    found: float, told: float
) -> None:
    assert rounded_up(found) == told


@pytest.mark.parametrize(
    ("suffix", "extra", "package"), [("onnx", "onnx", "onnxruntime"), ("xml", "openvino", "onnx")]
)
def test_a_missing_extra_is_one_line_with_the_command_that_installs_it(
    suffix: str,
    extra: str,
    package: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if extra == "openvino":
        pytest.importorskip("openvino", reason="needs the extra openvino")
    model = write_model(tmp_path / "model.safetensors")
    monkeypatch.setitem(sys.modules, package, None)
    out = tmp_path / f"out.{suffix}"
    outcome = run_command(capsys, "export", model, "-o", out)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err == (
        f'error: --out {out}: needs the package {package}; pip install "gancomp[{extra}]"\n'
    )
    assert not out.exists()
