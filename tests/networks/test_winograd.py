from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from gancomp.networks import winograd
from gancomp.networks.plain import plain_copy
from gancomp.networks.winograd import FrozenConv2d


@pytest.fixture(autouse=True)
def few_channels_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "LEAST_CHANNEL_PAIRS", 1)
    monkeypatch.setattr(winograd, "LEAST_TILES", 1)
    monkeypatch.setattr(winograd, "TILES_AT_ONCE", 7)


def frozen(in_channels: int, out_channels: int, padding: int, *, bias: bool = True) -> FrozenConv2d:
    torch.manual_seed(0)
    layer = FrozenConv2d(in_channels, out_channels, 3, padding=padding, bias=bias)
    return layer.requires_grad_(False)


def by_torch(layer: nn.Conv2d, features: Tensor) -> Tensor:
    bias = None if layer.bias is None else layer.bias.double()
    return nn.functional.conv2d(features.double(), layer.weight.double(), bias, 1, layer.padding)


def assert_equal(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found.double(), wanted.double(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 13, 6), (5, 8, 9), (1, 33, 29)])
def test_output_and_gradient_are_those_of_the_convolution(
    padding: int, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    num, height, width = shape
    layer = frozen(5, 3, padding)
    features = torch.randn(num, 5, height, width, requires_grad=True)
    expected = by_torch(layer, features)
    judged = torch.randn_like(expected)
    (wanted,) = torch.autograd.grad((expected * judged).sum(), features)
    monkeypatch.setattr(nn.Conv2d, "forward", None)  # what is shown is not torch's own
    output = layer(features)
    (gradient,) = torch.autograd.grad((output * judged).sum(), features)
    assert_equal(output, expected)
    assert_equal(gradient, wanted)
    assert output.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(8, 8), (6, 8), (8, 6), (6, 6)])
@pytest.mark.parametrize("num", [1, 2])
def test_output_may_be_written_to_in_place(num: int, shape: tuple[int, int]) -> None:
    features = torch.randn(num, 5, *shape, requires_grad=True)
    nn.functional.relu(frozen(5, 3, 1)(features), inplace=True).sum().backward()
    assert features.grad is not None


def test_without_a_bias_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Conv2d, "forward", None)
    layer = frozen(5, 3, 1, bias=False)
    features = torch.randn(1, 5, 8, 8)
    assert_equal(layer(features), by_torch(layer, features))


def test_weights_loaded_after_the_first_pass_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Conv2d, "forward", None)
    layer, features = frozen(5, 3, 1), torch.randn(1, 5, 8, 8)
    layer(features)
    layer.load_state_dict({key: value * 2 for key, value in layer.state_dict().items()})
    assert_equal(layer(features), by_torch(layer, features))


def test_what_is_kept_is_neither_copied_nor_stored_nor_used_for_other_weights() -> None:
    layer, features = frozen(5, 3, 1), torch.randn(1, 5, 8, 8, requires_grad=True)
    size = len(pickle.dumps(layer))
    layer(features).sum().backward()
    assert len(pickle.dumps(layer)) == size
    twin = copy.deepcopy(layer)
    assert twin._kept is None
    assert layer._kept is not None
    assert_equal(twin(features), layer(features))
    layer.half().float()
    assert_equal(layer(features), by_torch(layer, features))


def test_filters_made_in_inference_mode_serve_second_derivatives() -> None:
    layer, features = frozen(5, 3, 1), torch.randn(1, 5, 8, 8, requires_grad=True)
    with torch.inference_mode():
        layer(features)
        layer._filters(mirrored=True)
    sides = [layer(features), by_torch(layer, features)]
    second = []
    for side in sides:
        (first,) = torch.autograd.grad((side**2).sum(), features, create_graph=True)
        second.append(torch.autograd.grad((first**2).sum(), features)[0])
    torch.testing.assert_close(second[0], second[1], atol=1e-4, rtol=1e-4)


def test_autocast_around_the_backward_pass_alone_changes_nothing() -> None:
    layer, features = frozen(5, 3, 1), torch.randn(1, 5, 8, 8, requires_grad=True)
    output, wanted = layer(features), by_torch(layer, features)
    with torch.autocast("cpu", torch.bfloat16):
        (found,) = torch.autograd.grad((output * output.detach()).sum(), features)
    assert_equal(found, torch.autograd.grad((wanted * wanted.detach()).sum(), features)[0])


def test_an_image_without_a_batch_is_torchs_own() -> None:
    layer, features = frozen(5, 3, 1), torch.randn(5, 8, 8)
    assert torch.allclose(layer(features), layer(features[None])[0], atol=1e-5)


def test_trained_strided_or_half_precision_convolutions_are_torchs_own() -> None:
    features = torch.randn(1, 5, 8, 8)
    trained = frozen(5, 3, 1).requires_grad_(True)
    trained(features).sum().backward()
    assert trained.weight.grad is not None
    strided = FrozenConv2d(5, 3, 3, stride=2).requires_grad_(False)
    assert strided(features).shape == (1, 3, 3, 3)
    assert frozen(5, 3, 1).double()(features.double()).dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        assert frozen(5, 3, 1)(features).dtype == torch.bfloat16


def test_plain_copies_have_torchs_own_layers() -> None:
    layers = plain_copy(nn.Sequential(frozen(5, 3, 1)))
    assert type(layers[0]) is nn.Conv2d


def test_few_channels_and_small_maps_are_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(winograd, "convolve", None)
    with torch.no_grad():
        frozen(64, 64, 1)(torch.randn(1, 64, 32, 32))
        frozen(128, 128, 1)(torch.randn(1, 128, 8, 8))
        with pytest.raises(TypeError):
            frozen(128, 128, 1)(torch.randn(1, 128, 16, 16))
