"""LPIPS: whose weights it looks with, and what it refuses; with random ones in their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from gancomp.errors import DataError, WeightsError
from gancomp.metrics.learned import BACKBONES, Lpips
from gancomp.metrics.options import LpipsOptions

lpips = pytest.importorskip("lpips", reason='pip install "gancomp[lpips]"')
SHAPES = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
CPU = torch.device("cpu")


def no_words(message: str) -> None:
    pytest.fail(f"unexpected: {message}")


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Of AlexNet's shapes: what torchvision's file holds of its convolutions."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for index, (out, into, side) in SHAPES.items():
        scale = (2 / (into * side**2)) ** 0.5
        found[f"features.{index}.weight"] = (
            torch.randn(out, into, side, side, generator=generator) * scale
        )
        found[f"features.{index}.bias"] = torch.zeros(out)
    return found


@pytest.fixture(scope="module")
def prepared(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Any:
    file = tmp_path_factory.mktemp("weights") / "mine.pth"
    torch.save(state, file)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    metric, said = Lpips(LpipsOptions(lpips_weights=str(file))), []
    metric.prepare(CPU, said.append)
    assert torch.equal(torch.get_rng_state(), before)
    return metric, said


def images() -> list[NDArray[np.uint8]]:
    drawn = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3))
    return list(drawn.astype(np.uint8))


def test_it_is_the_package_s_distance_over_the_file_s_layers(
    prepared: Any, state: dict[str, Tensor]
) -> None:
    metric, _ = prepared
    pair = images()
    inputs = [torch.from_numpy(item).permute(2, 0, 1)[None] / 127.5 - 1 for item in pair]
    scaled = metric._network.scaling_layer(inputs[0])
    first = torch.nn.functional.conv2d(
        scaled, state["features.0.weight"], stride=4, padding=2
    ).relu()
    assert torch.allclose(metric._network.net(scaled)[0], first, atol=1e-5)
    value = metric.of_pair(*pair)
    assert value == pytest.approx(float(metric._network(*inputs).detach()), rel=1e-5)
    assert value > 0.01
    assert metric.of_pair(pair[0], pair[0]) == 0
    assert metric.of_pair(pair[1], pair[0]) == pytest.approx(value, rel=1e-4)


def test_weights_that_are_not_torchvision_s_are_said_to_be(prepared: Any) -> None:
    metric, said = prepared
    (warning,) = said
    assert "is not the file that torchvision publishes" in warning
    told = metric.protocol()
    assert told["network"] == "AlexNet"
    assert told["weights"]["file"] == "mine.pth"
    assert told["weights"]["origin"] == "not the file that torchvision publishes"
    assert len(told["weights"]["sha256"]) == 64


def test_images_too_small_for_its_layers_are_refused(prepared: Any) -> None:
    small = np.zeros((30, 40, 3), np.uint8)
    with pytest.raises(DataError, match="40x30 pixels are too few for LPIPS with AlexNet"):
        prepared[0].of_pair(small, small)
    least = np.zeros((31, 31, 3), np.uint8)
    assert prepared[0].of_pair(least, least) == 0


def test_wrong_weights_are_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    def refused(content: Any, said: str) -> None:
        file = tmp_path / "weights.pth"
        if content is not None:
            torch.save(content, file)
        with pytest.raises(WeightsError, match=said):
            Lpips(LpipsOptions(lpips_weights=str(file))).prepare(CPU, no_words)

    refused(None, "`lpips_weights` .*weights.pth: no such file; give torchvision's alexnet-owt")
    refused([1], "holds list, not named weights")
    missing = {key: value for key, value in state.items() if key != "features.8.bias"}
    refused(
        state | {"features.0.bias": torch.full((64,), torch.nan)},
        "features.0.bias holds values that are not finite",
    )
    (tmp_path / "weights.pth").write_bytes(b"cut")
    refused(None, "not readable as weights")
    save_file(missing, tmp_path / "weights.safetensors")
    metric = Lpips(LpipsOptions(lpips_weights=str(tmp_path / "weights.safetensors")))
    with pytest.raises(WeightsError, match="not torchvision's AlexNet: features.8.bias is missing"):
        metric.prepare(CPU, no_words)


def test_missing_weights_are_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*arguments: Any, **more: Any) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    said: list[str] = []
    with pytest.raises(WeightsError, match="LPIPS' AlexNet .* could not be downloaded .* put that"):
        Lpips(LpipsOptions()).prepare(CPU, said.append)
    assert said[0].startswith("downloading LPIPS' AlexNet (ImageNet weights) (233 MB) from https")
    assert BACKBONES["vgg"].hash_prefix == "397923af"
