"""People's own generators in the formats for other runtimes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import own_generators
import pytest
import torch
from torch import nn
from web_runtimes import stand_in

from gancomp.export import onnx_file, pt2_file
from gancomp.export.deployed import open_deployed
from gancomp.export.html_file import Html
from gancomp.export.model import LoadedModel
from gancomp.export.onnx_file import Onnx
from gancomp.export.pt2_file import Pt2
from gancomp.networks.base import TappedNetwork
from gancomp.networks.inference import run_generator
from gancomp.own_code import forget_code, name_function
from gancomp.registry import build_network


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    forget_code()


def made_of(factory: Callable[[], nn.Module]) -> LoadedModel:
    network = build_network(name_function(factory)).eval()
    header = {"role": "student", "input": {"size": [32, 32]}}
    return LoadedModel(network, header, Path("x.safetensors"), "gancomp")


def check_opened(file: Path, network: TappedNetwork) -> None:
    images = torch.rand((2, 3, 30, 41), generator=torch.Generator().manual_seed(0)) * 2 - 1
    made = run_generator(open_deployed(file).network, images)
    torch.testing.assert_close(made, run_generator(network, images), rtol=0, atol=1e-4)


def blurred() -> nn.Module:
    """Its fixed filters stand in no state dict."""
    down, up = own_generators.BlurDown(2), own_generators.BlurUp(2)
    return nn.Sequential(nn.Conv2d(3, 2, 1), down, up, nn.Conv2d(2, 3, 1), nn.Tanh())


class Deep(own_generators.GlobalGenerator):
    """Of 8 pixels one would be left, which reflection cannot pad; and one layer is not needed."""

    def __init__(self) -> None:
        super().__init__(3, 3, ngf=2, n_downsampling=3, n_blocks=1)
        self.unused = nn.Conv2d(3, 3, 3)


def test_fixed_filters_go_into_every_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason="needs the extra onnx")
    model = made_of(blurred)
    known: dict[str, Any] = {}  # tracing takes long, and is the same for every format

    def once(make: Callable[..., Any]) -> Callable[..., Any]:
        def kept(*given: Any, **more: Any) -> Any:
            if make.__name__ not in known:
                known[make.__name__] = make(*given, **more)
            return known[make.__name__]

        return kept

    traced = once(onnx_file.traced)
    for module in (onnx_file, pt2_file):
        monkeypatch.setattr(module, "traced", traced)
    monkeypatch.setattr(onnx_file, "onnx_graph", once(onnx_file.onnx_graph))
    for exporter in (Onnx(), Pt2()):
        file = tmp_path / f"own{exporter.suffix}"
        exporter.write(model, file)
        check_opened(file, model.network)
    page = Html(runtime=stand_in(tmp_path / "runtime"))
    page.write(model, tmp_path / "own.html")
    assert page.checked is not None
    assert page.checked["models"][0]["levels"] <= 1


def test_a_file_is_tried_with_images_that_its_network_can_do_with(tmp_path: Path) -> None:
    model = made_of(Deep)
    Pt2().write(model, tmp_path / "own.pt2")
    check_opened(tmp_path / "own.pt2", model.network)
