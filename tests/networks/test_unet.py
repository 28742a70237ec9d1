"""Nesting, widths and parameter names of the U-Net generators."""

import pytest
import torch
from torch import nn

from gancomp.errors import ConfigError
from gancomp.networks.unet import unet128, unet256


def expected_keys(levels: int) -> set[str]:
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    keys = {"model.model.0.weight", "model.model.3.weight", "model.model.3.bias"}
    path = "model.model.1"
    for _ in range(levels - 2):
        keys |= {f"{path}.model.1.weight", f"{path}.model.5.weight"}
        keys |= {f"{path}.model.{i}.{kind}" for i in (2, 6) for kind in norm}
        path += ".model.3"
    keys |= {f"{path}.model.1.weight", f"{path}.model.3.weight"}
    return keys | {f"{path}.model.4.{kind}" for kind in norm}


@pytest.mark.parametrize(("factory", "levels", "count"), [(unet256, 8, 82), (unet128, 7, 70)])
def test_keys_are_those_of_the_published_checkpoints(
    factory: type, levels: int, count: int
) -> None:
    state = factory(width=2).state_dict()
    assert set(state) == expected_keys(levels)
    assert len(state) == count


def test_taps_are_omgds_with_their_shapes() -> None:
    network = unet256(width=2).eval()
    _, taps = network.forward_with_taps(torch.zeros(1, 3, 256, 256), network.default_taps)
    assert {name: tuple(value.shape[1:]) for name, value in taps.items()} == {
        "model.model.1.model.3.model.0": (4, 64, 64),
        "model.model.1.model.3.model.3.model.3.model.0": (16, 16, 16),
        "model.model.1.model.3.model.3.model.4": (32, 16, 16),
        "model.model.1.model.4": (8, 64, 64),
    }


@pytest.mark.parametrize(("factory", "dropped"), [(unet256, 3), (unet128, 2)])
def test_dropout_sits_in_the_middle_levels_of_full_width(factory: type, dropped: int) -> None:
    network = factory(width=2, dropout=0.5)
    rates = [module for module in network.modules() if isinstance(module, nn.Dropout)]
    assert len(rates) == dropped
    assert list(network.state_dict()) == list(factory(width=2).state_dict())
    level = network.model.model[1].model[3].model[3]
    for _ in range(dropped):
        level = level.model[3]
        assert isinstance(level.model[7], nn.Dropout)
        assert level.model[1].in_channels == level.model[1].out_channels == 16


def test_instance_norm_gives_every_convolution_a_bias() -> None:
    network = unet128(width=2, norm="instance")
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convs) == 14
    assert all(conv.bias is not None for conv in convs)


def test_the_output_is_an_image_of_the_asked_channels_in_range() -> None:
    network = unet128(width=2, in_channels=1, out_channels=2).eval()
    output = network(torch.rand(1, 1, 128, 256, generator=torch.Generator().manual_seed(0)))
    assert output.shape == (1, 2, 128, 256)
    assert output.abs().max() <= 1


def test_pruned_widths_are_used_on_the_way_down_and_up() -> None:
    channels = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    network = unet128(channels=channels).eval()
    outer, first = network.model.model, network.model.model[1].model
    assert (outer[0].out_channels, first[1].out_channels) == (2, 3)
    assert (first[5].in_channels, first[5].out_channels) == (3 + 13, 14)
    assert outer[3].in_channels == 2 + 14
    _, taps = network.forward_with_taps(torch.zeros(1, 3, 128, 128), network.default_taps)
    assert {name: value.shape[1] for name, value in taps.items()} == network.tap_channels


def test_a_wrong_number_of_widths_says_what_each_one_is() -> None:
    with pytest.raises(ConfigError, match="15 needed: 8 down convolutions, then 7 up"):
        unet256(channels=[4] * 8)
