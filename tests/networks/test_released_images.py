"""Images and verdicts of the plain networks equal those of the released code, in both modes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden_values import assert_golden, fill, golden, img

from gancomp.registry import build_network

GENERATORS = [
    ("net/resnet_9blocks ngf 4 instance eval forward", "resnet9", {"width": 4}),
    ("net/mobile_resnet_9blocks ngf 4 instance eval forward", "mobile-resnet9", {"width": 4}),
    (
        "net/mobile_resnet_9blocks ngf 4 batch eval forward",
        "mobile-resnet9",
        {"width": 4, "norm": "batch"},
    ),
    ("net/unet_256 ngf 2 batch eval forward", "unet256", {"width": 2, "norm": "batch"}),
]


@pytest.mark.parametrize(("name", "arch", "settings"), GENERATORS)
def test_a_generators_image_is_that_of_the_released_code(
    name: str, arch: str, settings: dict[str, Any]
) -> None:
    entry = golden(name)
    network = build_network(arch, **settings)
    assert len(network.state_dict()) == entry["n_tensors"]
    assert sum(parameter.numel() for parameter in network.parameters()) == entry["params"]
    network = fill(network, 20000)
    size = 256 if arch == "unet256" else 32
    images = img((2, 3, size, size), 9)
    with torch.no_grad():
        assert_golden(network.eval()(images), entry["value"])
        if "train_mode" in entry:
            assert_golden(network.train()(images), entry["train_mode"])


@pytest.mark.parametrize(("channels", "norm"), [(3, "instance"), (6, "instance"), (6, "batch")])
def test_a_patchgans_verdict_is_that_of_the_released_code(channels: int, norm: str) -> None:
    entry = golden(f"net/PatchGAN in {channels} ndf 8 {norm[0].upper()}N eval forward")
    network = build_network("patchgan", width=8, in_channels=channels, norm=norm)
    with torch.no_grad():
        verdict = fill(network, 1000).eval()(img((2, channels, 64, 64), 21))
    assert list(verdict.shape) == entry["shape"]
    assert_golden(verdict, entry["value"])


@pytest.mark.parametrize("widths", [(8,) * 8, (8, 6, 8, 8, 6, 6, 8, 6)])
def test_a_network_cut_out_of_gan_compressions_supernet_gives_its_image(
    widths: tuple[int, ...],
) -> None:
    stem, down1, down2, *blocks, up1, up2 = widths
    inner = [4 * width for width in blocks for _ in range(3)]
    channels = (stem, 2 * down1, 4 * down2, *inner, 2 * up1, up2)
    whole = fill(build_network("mobile-resnet9", width=8), 4000).state_dict()
    network = build_network("mobile-resnet9", channels=channels).double()
    first = {  # it shares its weights: the first channels of each layer
        key: whole[key][tuple(slice(length) for length in value.shape)]
        for key, value in network.state_dict().items()
    }
    network.load_state_dict(first)
    with torch.no_grad():
        image = network.eval()(img((1, 3, 32, 32), 9))
    assert_golden(image, golden(f"gc/supernet ngf 8 config {list(widths)} forward")["value"])
