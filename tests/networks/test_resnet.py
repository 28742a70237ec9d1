"""Layer indices, widths and parameter names of the ResNet generators."""

import pickle
from collections.abc import Callable

import pytest
import torch
from torch import nn

from gancomp.errors import ConfigError
from gancomp.networks.resnet import mobile_resnet6, mobile_resnet9, resnet6, resnet9


def test_dense_keys_are_those_of_the_published_checkpoints() -> None:
    state = resnet9(width=2).state_dict()
    prefixes = [f"model.{i}" for i in (1, 4, 7, 19, 22, 26)]
    prefixes += [f"model.{i}.conv_block.{j}" for i in range(10, 19) for j in (1, 6)]
    assert set(state) == {f"{p}.{kind}" for p in prefixes for kind in ("weight", "bias")}
    assert len(state) == 48


def test_mobile_keys_are_those_of_the_published_checkpoints() -> None:
    state = mobile_resnet9(width=2).state_dict()
    prefixes = [f"model.{i}" for i in (1, 4, 7, 19, 22, 26)]
    prefixes += [
        f"model.{i}.conv_block.{j}.conv.{k}" for i in range(10, 19) for j in (1, 6) for k in (0, 2)
    ]
    assert set(state) == {f"{p}.{kind}" for p in prefixes for kind in ("weight", "bias")}
    assert len(state) == 84
    assert state["model.10.conv_block.1.conv.0.weight"].shape == (8, 1, 3, 3)
    assert state["model.10.conv_block.1.conv.2.weight"].shape == (8, 8, 1, 1)


def test_six_blocks_move_the_tail_and_the_taps() -> None:
    for factory in (resnet6, mobile_resnet6):
        network = factory(width=2)
        assert network.default_taps == ("model.9", "model.11", "model.13", "model.15")
        assert network.model[23].out_channels == 3
        assert isinstance(network.model[24], nn.Tanh)


def test_taps_of_nine_blocks_are_those_of_the_papers() -> None:
    assert resnet9(width=2).default_taps == ("model.9", "model.12", "model.15", "model.18")


def test_dropout_adds_no_keys_and_acts_only_in_training() -> None:
    plain, dropping = mobile_resnet6(width=2), mobile_resnet6(width=2, dropout=0.5)
    assert list(plain.state_dict()) == list(dropping.state_dict())
    assert dropping.model[10].conv_block[4].p == 0.5
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(plain.eval()(images), dropping.eval()(images))


def test_batch_norm_takes_the_bias_from_convolutions_but_not_from_head_and_separable_ones() -> None:
    dense = resnet9(width=2, norm="batch").state_dict()
    assert "model.1.bias" not in dense
    assert "model.10.conv_block.6.bias" not in dense
    assert "model.19.bias" not in dense
    assert {"model.2.running_mean", "model.10.conv_block.7.weight", "model.26.bias"} <= set(dense)
    mobile = mobile_resnet9(width=2, norm="batch").state_dict()
    assert {f"model.10.conv_block.1.conv.{k}.bias" for k in (0, 2)} <= set(mobile)
    assert "model.10.conv_block.1.conv.1.weight" not in mobile


def test_instance_norm_output_does_not_depend_on_the_mode() -> None:
    network = mobile_resnet6(width=2)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network.train()(images), network.eval()(images))


def test_output_is_an_image_of_the_asked_channels_in_range() -> None:
    network = resnet6(width=2, in_channels=1, out_channels=2)
    output = network(torch.rand(2, 1, 24, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    assert output.shape == (2, 2, 24, 16)
    assert output.abs().max() <= 1


@pytest.mark.parametrize("factory", [resnet6, mobile_resnet6])
def test_pruned_widths_are_used_and_the_residual_path_keeps_down2(factory: type) -> None:
    channels = [3, 5, 7, 2, 4, 6, 8, 10, 12, 9, 11]
    network = factory(channels=channels)
    shapes = [tuple(parameter.shape) for parameter in network.parameters() if parameter.ndim == 4]
    assert shapes[0] == (3, 3, 7, 7)
    assert shapes[-3:] == [(7, 9, 3, 3), (9, 11, 3, 3), (3, 11, 7, 7)]
    inner = [network.model[10 + k].conv_block[2].num_features for k in range(6)]
    assert inner == channels[3:9]
    assert network.width == network.settings()["width"] == 3
    assert network.settings()["channels"] == channels
    assert set(network.tap_channels.values()) == {7}
    assert network(torch.zeros(1, 3, 16, 16)).shape == (1, 3, 16, 16)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, r"`width` 0: "),
        ({"width": 2.5}, r"`width` 2\.5: "),
        ({"width": True}, r"`width` True: "),
        ({"in_channels": -1}, r"`in_channels` -1: "),
        ({"out_channels": 0}, r"`out_channels` 0: "),
        ({"norm": "layer"}, r"`norm` 'layer': .*instance, batch"),
        ({"dropout": 1.0}, r"dropout 1\.0: "),
        ({"dropout": "x"}, r"dropout 'x': "),
        ({"channels": [1, 2, 3]}, r"channels: 3 widths given, 14 needed: stem, .*9 blocks"),
        ({"channels": []}, r"channels|`width`"),
        ({"channels": [0] * 14}, r"channels 0: "),
    ],
)
def test_a_bad_setting_is_one_line_that_names_it(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        mobile_resnet9(**settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("factory", [resnet9, resnet6, mobile_resnet9, mobile_resnet6])
def test_what_makes_a_network_is_a_function_of_its_own(factory: Callable[..., nn.Module]) -> None:
    assert pickle.loads(pickle.dumps(factory)) is factory
