"""The form for phones: equal images of one size, without what their runtimes lack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gancomp.errors import ConfigError
from gancomp.export.fixed_form import NormOfMeans, PaddingOfSlices, fixed_form
from gancomp.export.form import example_inputs
from gancomp.export.model import LoadedModel
from gancomp.export.parity import reference
from gancomp.registry import build_network


def loaded(arch: str, size: tuple[int, int] = (30, 50), **settings: Any) -> LoadedModel:
    network = build_network(arch, width=4, **settings).eval()
    header = {"role": "student", "input": {"size": list(size)}}
    return LoadedModel(network, header, Path("x.safetensors"), "gancomp")


def test_the_form_gives_the_images_of_the_network_at_its_one_size() -> None:
    model = loaded("mobile-resnet6")
    form = fixed_form(model, None)
    assert form.fixed_size == (28, 48)  # multiples of 4
    kinds = {type(module) for module in form.module.modules()}
    assert not kinds & {nn.InstanceNorm2d, nn.ReflectionPad2d}
    inputs = example_inputs(form, model.network, (28, 48), 1)
    with torch.no_grad():
        images = form.module(*inputs)
    torch.testing.assert_close(images, reference(model.network, inputs), rtol=0, atol=1e-4)


def test_norms_and_paddings_are_torchs_with_scales_and_uneven_sides() -> None:
    features = torch.randn((2, 3, 9, 7), generator=torch.Generator().manual_seed(0))
    norm = nn.InstanceNorm2d(3, affine=True)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
        norm.bias.copy_(torch.tensor([0.1, 0.0, -0.3]))
        torch.testing.assert_close(NormOfMeans(norm)(features), norm(features))
    padding = nn.ReflectionPad2d((1, 0, 3, 2))
    assert torch.equal(PaddingOfSlices(padding)(features), padding(features))


def test_a_size_that_the_network_cannot_take_is_refused() -> None:
    assert fixed_form(loaded("mobile-resnet6"), (16, 64)).fixed_size == (16, 64)
    for model, size, named in (
        (loaded("mobile-resnet6"), 30, "multiples of 4"),
        (loaded("stylegan2", resolution=16, style_channels=8, const_channels=8), 64, "remove it"),
        (loaded("patchgan"), None, "discriminator"),
    ):
        with pytest.raises(ConfigError, match=named):
            fixed_form(model, size)
