"""Self-attention against loops over positions, in value, first and second gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gancomp.networks.attention import SelfAttention
from gancomp.networks.spectral import SpectralConv2d


def attention(channels: int = 8, gamma: float = 0.6) -> SelfAttention:
    """In float64 and eval mode; rank-one scores would hide a mistake, so two channels of keys."""
    made = SelfAttention(2 * channels).double().eval()
    generator = torch.Generator().manual_seed(2)
    for layer in (made.theta, made.phi, made.g, made.o):
        layer.draw(generator)
        with torch.no_grad():
            layer.weight.add_(torch.randn(layer.weight.shape, generator=generator))
    with torch.no_grad():
        made.gamma.fill_(gamma)
    return made


def features(channels: int = 16, size: tuple[int, int] = (4, 6)) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn((2, channels, *size), generator=generator, dtype=torch.float64)


def literally(module: SelfAttention, x: Tensor) -> Tensor:
    """Position by position, with the layers' normalized weights as matrices."""

    def matrix(layer: SpectralConv2d) -> Tensor:
        return layer.normalized_weight()[:, :, 0, 0]

    theta, phi, g, o = (matrix(item) for item in (module.theta, module.phi, module.g, module.o))
    output = []
    for image in x:
        _, height, width = image.shape
        keys, values = [], []
        for top in range(0, height, 2):
            for left in range(0, width, 2):
                block = [image[:, top + i, left + j] for i in (0, 1) for j in (0, 1)]
                keys.append(torch.stack([phi @ item for item in block]).amax(0))
                values.append(torch.stack([g @ item for item in block]).amax(0))
        columns = []
        for row in range(height):
            for column in range(width):
                query = theta @ image[:, row, column]
                scores = torch.stack([query @ key for key in keys])
                shares = torch.exp(scores) / torch.exp(scores).sum()
                mixture = sum(share * value for share, value in zip(shares, values, strict=True))
                columns.append(module.gamma * (o @ mixture) + image[:, row, column])
        output.append(torch.stack(columns, 1).reshape(-1, height, width))
    return torch.stack(output)


def test_values_and_two_gradients_are_those_of_loops_over_positions() -> None:
    module, found = attention(), []
    for run in (module, lambda x: literally(module, x)):
        x = features().requires_grad_()
        leaves = [x, *module.parameters()]
        output = run(x)
        first = torch.autograd.grad((output**2).sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum((item**2).sum() for item in first), leaves)
        found.append([output, *first, *second])
    assert len(found[0]) == 1 + 2 * 6
    for ours, wanted in zip(*found, strict=True):
        assert wanted.abs().max() > 0
        torch.testing.assert_close(ours, wanted, rtol=1e-9, atol=1e-10)


def test_with_gamma_0_it_passes_its_input_on() -> None:
    assert torch.equal(attention(gamma=0.0)(features()), features())


def test_positions_of_a_uniform_map_all_receive_the_same() -> None:
    uniform = features(size=(1, 1)).expand(-1, -1, 4, 6)
    output = attention()(uniform)
    torch.testing.assert_close(output, output[:, :, :1, :1].expand_as(output))


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_it_keeps_the_memory_order_of_its_input(order: torch.memory_format) -> None:
    module = attention().to(memory_format=order)
    output = module(features().contiguous(memory_format=order))
    assert output.is_contiguous(memory_format=order)
    torch.testing.assert_close(output, attention()(features()))


def test_few_channels_leave_one_for_keys() -> None:
    module = SelfAttention(4)
    assert module.theta.weight.shape == (1, 4, 1, 1)
    assert SelfAttention(192).theta.weight.shape == (24, 192, 1, 1)
    assert SelfAttention(192).g.weight.shape == (96, 192, 1, 1)
