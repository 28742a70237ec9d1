"""Layer indices and logits of the PatchGAN discriminator."""

import pytest
import torch

from gancomp.errors import ConfigError
from gancomp.networks.patchgan import patchgan


def test_keys_are_those_of_the_published_checkpoints() -> None:
    instance = patchgan(width=2).state_dict()
    assert set(instance) == {
        f"model.{i}.{kind}" for i in (0, 2, 5, 8, 11) for kind in ("weight", "bias")
    }
    batch = patchgan(width=2, norm="batch").state_dict()
    assert {f"model.{i}.running_var" for i in (3, 6, 9)} <= set(batch)
    assert {f"model.{i}.bias" for i in (0, 11)} <= set(batch)
    assert not {f"model.{i}.bias" for i in (2, 5, 8)} & set(batch)


@pytest.mark.parametrize(
    ("layers", "tap", "channels", "logits"),
    [
        (1, "model.4", 4, 126),
        (2, "model.7", 8, 62),
        (3, "model.10", 16, 30),
        (4, "model.13", 16, 14),
    ],
)
def test_the_tap_is_the_activation_before_the_last_convolution(
    layers: int, tap: str, channels: int, logits: int
) -> None:
    network = patchgan(width=2, layers=layers)
    assert network.default_taps == (tap,)
    assert network.tap_channels == {tap: channels}
    output, taps = network.forward_with_taps(torch.zeros(1, 3, 256, 256), (tap,))
    assert output.shape == (1, 1, logits, logits)
    assert taps[tap].shape[1] == channels
    assert torch.equal(network.model[-1](taps[tap]), output)


def test_a_logit_sees_exactly_70_pixels() -> None:
    images = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    network = patchgan(width=2, norm="batch").eval()  # no statistics of the image itself
    images.requires_grad_()
    network(images)[0, 0, 15, 15].backward()
    rows = images.grad.abs().sum(dim=(0, 1, 3)).nonzero()
    assert rows.max() - rows.min() + 1 == 70


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "`width` 0"),
        ({"norm": "none"}, "`norm` 'none'"),
        ({"in_channels": "3"}, "`in_channels` '3'"),
        ({"layers": 0}, "layers 0"),
    ],
)
def test_a_bad_setting_is_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        patchgan(**settings)
