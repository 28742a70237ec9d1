"""A second BigGAN, written as functions of a state dict in the layout of BigGAN-PyTorch.

It knows nothing of gancomp: the keys and shapes are spelled out from the published layout, and each
layer is computed by torch's plain functions in evaluation mode.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]

# in and out channels of the blocks in multiples of the width, by resolution
GENERATOR = {
    32: [(4, 4)] * 3,
    64: [(16, 16), (16, 8), (8, 4), (4, 2)],
    128: [(16, 16), (16, 8), (8, 4), (4, 2), (2, 1)],
    256: [(16, 16), (16, 8), (8, 8), (8, 4), (4, 2), (2, 1)],
}
DISCRIMINATOR = {  # None: the image's 3 channels; the last number tells whether it halves
    32: [(None, 4, 1), (4, 4, 1), (4, 4, 0), (4, 4, 0)],
    64: [(None, 1, 1), (1, 2, 1), (2, 4, 1), (4, 8, 1), (8, 16, 0)],
    128: [(None, 1, 1), (1, 2, 1), (2, 4, 1), (4, 8, 1), (8, 16, 1), (16, 16, 0)],
    256: [(None, 1, 1), (1, 2, 1), (2, 4, 1), (4, 8, 1), (8, 8, 1), (8, 16, 1), (16, 16, 0)],
}
G_ATTENTION = {32: 1, 64: 2, 128: 3, 256: 3}  # the block behind which attention stands
D_ATTENTION = {32: 0, 64: 0, 128: 0, 256: 1}


def spectral(name: str, *shape: int, bias: bool = True) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {f"{name}.weight": shape}
    if bias:
        found[f"{name}.bias"] = shape[:1]
    return found | {f"{name}.u0": (1, shape[0]), f"{name}.sv0": (1,)}


def attention(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    few, half = max(1, channels // 8), max(1, channels // 2)
    return {
        **spectral(f"{name}.theta", few, channels, 1, 1, bias=False),
        **spectral(f"{name}.phi", few, channels, 1, 1, bias=False),
        **spectral(f"{name}.g", half, channels, 1, 1, bias=False),
        **spectral(f"{name}.o", channels, half, 1, 1, bias=False),
        f"{name}.gamma": (),
    }


def generator_shapes(
    width: int,
    resolution: int,
    classes: int,
    *,
    chunk: int = 20,
    shared: int = 128,
    hierarchical: bool = True,
) -> dict[str, tuple[int, ...]]:
    blocks = GENERATOR[resolution]
    last = width * blocks[-1][1]
    condition = shared + (chunk if hierarchical else 0)
    shapes: dict[str, tuple[int, ...]] = {"shared.weight": (classes, shared)} if shared else {}
    shapes |= spectral("linear", 16 * width * blocks[0][0], chunk)
    for i, (a, b) in enumerate((x * width, y * width) for x, y in blocks):
        shapes |= spectral(f"blocks.{i}.0.conv1", b, a, 3, 3)
        shapes |= spectral(f"blocks.{i}.0.conv2", b, b, 3, 3)
        shapes |= spectral(f"blocks.{i}.0.conv_sc", b, a, 1, 1)
        for norm, c in (("bn1", a), ("bn2", b)):
            shapes |= {f"blocks.{i}.0.{norm}.stored_mean": (c,)}
            shapes |= {f"blocks.{i}.0.{norm}.stored_var": (c,)}
            for leaf in ("gain", "bias"):
                name = f"blocks.{i}.0.{norm}.{leaf}"
                if shared:
                    shapes |= spectral(name, c, condition, bias=False)
                else:
                    shapes[f"{name}.weight"] = (classes, c)
        if i == G_ATTENTION[resolution]:
            shapes |= attention(f"blocks.{i}.1", b)
    for leaf in ("gain", "bias", "stored_mean", "stored_var"):
        shapes[f"output_layer.0.{leaf}"] = (last,)
    return shapes | spectral("output_layer.2", 3, last, 3, 3)


def discriminator_shapes(
    width: int, resolution: int, classes: int, *, wide: bool = True
) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (x, y, halves) in enumerate(DISCRIMINATOR[resolution]):
        a, b = 3 if x is None else x * width, y * width
        between = b if wide else a
        shapes |= spectral(f"blocks.{i}.0.conv1", between, a, 3, 3)
        shapes |= spectral(f"blocks.{i}.0.conv2", b, between, 3, 3)
        if halves or a != b:
            shapes |= spectral(f"blocks.{i}.0.conv_sc", b, a, 1, 1)
        if i == D_ATTENTION[resolution]:
            shapes |= attention(f"blocks.{i}.1", b)
    last = width * DISCRIMINATOR[resolution][-1][1]
    return shapes | spectral("linear", 1, last) | spectral("embed", classes, last, bias=False)


def random_state(
    shapes: dict[str, tuple[int, ...]], seed: int = 0, dtype: torch.dtype = torch.float32
) -> State:
    """Every tensor of these shapes such that each of them shows in the output."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=generator, dtype=dtype)
        if name.endswith("stored_var"):
            values = values.abs() + 0.5
        elif name.endswith("gamma"):
            values = values * 0 + 0.7
        elif name == "output_layer.0.gain":
            values = 1 + 0.2 * values
        elif not name.endswith(("weight", "u0")):
            values = 0.2 * values
        state[name] = values
    return state


def normalized(state: State, name: str) -> Tensor:
    weight = state[f"{name}.weight"]
    W = weight.reshape(len(weight), -1)
    v = state[f"{name}.u0"] @ W.detach()
    v = v / v.norm().clamp(min=1e-6)
    u = v @ W.detach().T
    u = u / u.norm().clamp(min=1e-6)
    return weight / (v @ W.T @ u.T).squeeze()


def conv(state: State, name: str, x: Tensor) -> Tensor:
    weight = normalized(state, name)
    return F.conv2d(x, weight, state.get(f"{name}.bias"), padding=weight.shape[-1] // 2)


def linear(state: State, name: str, x: Tensor) -> Tensor:
    product = x @ normalized(state, name).T
    return product + state[f"{name}.bias"] if f"{name}.bias" in state else product


def attend(state: State, name: str, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    theta = conv(state, f"{name}.theta", x).reshape(n, -1, h * w)
    phi = F.max_pool2d(conv(state, f"{name}.phi", x), 2).reshape(n, -1, h * w // 4)
    g = F.max_pool2d(conv(state, f"{name}.g", x), 2).reshape(n, -1, h * w // 4)
    beta = torch.einsum("ncq,nck->nqk", theta, phi).softmax(2)
    mixed = torch.einsum("nck,nqk->ncq", g, beta).reshape(n, -1, h, w)
    return state[f"{name}.gamma"] * conv(state, f"{name}.o", mixed) + x


def norm(state: State, name: str, x: Tensor) -> Tensor:
    mean, var = (state[f"{name}.stored_{it}"].view(1, -1, 1, 1) for it in ("mean", "var"))
    return (x - mean) / torch.sqrt(var + 1e-5)


def conditional_norm(state: State, name: str, x: Tensor, condition: Tensor) -> Tensor:
    if condition.ndim == 1:  # each class has its own
        gain, bias = (state[f"{name}.{leaf}.weight"][condition] for leaf in ("gain", "bias"))
        return norm(state, name, x) * (1 + gain)[..., None, None] + bias[..., None, None]
    gain = 1 + linear(state, f"{name}.gain", condition)
    bias = linear(state, f"{name}.bias", condition)
    return norm(state, name, x) * gain[..., None, None] + bias[..., None, None]


def doubled(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def generate(state: State, z: Tensor, classes: Tensor, resolution: int) -> Tensor:
    embedded = state["shared.weight"][classes] if "shared.weight" in state else classes
    size = state["linear.weight"].shape[1]
    chunks = [z[:, i : i + size] for i in range(0, z.shape[1], size)]
    x = linear(state, "linear", chunks[0]).reshape(len(z), -1, 4, 4)
    for i in range(len(GENERATOR[resolution])):
        name, condition = f"blocks.{i}.0", embedded
        if len(chunks) > 1:
            condition = torch.cat([embedded, chunks[i + 1]], 1)
        hidden = doubled(conditional_norm(state, f"{name}.bn1", x, condition).relu())
        hidden = conv(state, f"{name}.conv1", hidden)
        hidden = conditional_norm(state, f"{name}.bn2", hidden, condition).relu()
        x = conv(state, f"{name}.conv2", hidden) + conv(state, f"{name}.conv_sc", doubled(x))
        if f"blocks.{i}.1.gamma" in state:
            x = attend(state, f"blocks.{i}.1", x)
    x = norm(state, "output_layer.0", x) * state["output_layer.0.gain"].view(1, -1, 1, 1)
    x = x + state["output_layer.0.bias"].view(1, -1, 1, 1)
    return conv(state, "output_layer.2", x.relu()).tanh()


def judge(state: State, images: Tensor, classes: Tensor, resolution: int) -> Tensor:
    x = images
    for i, (_, _, halves) in enumerate(DISCRIMINATOR[resolution]):
        name = f"blocks.{i}.0"
        hidden = conv(state, f"{name}.conv1", x if i == 0 else x.relu())
        hidden = conv(state, f"{name}.conv2", hidden.relu())
        side = F.avg_pool2d(x, 2) if i == 0 else x
        if f"{name}.conv_sc.weight" in state:
            side = conv(state, f"{name}.conv_sc", side)
        if halves:
            hidden = F.avg_pool2d(hidden, 2)
            side = side if i == 0 else F.avg_pool2d(side, 2)
        x = hidden + side
        if i == D_ATTENTION[resolution]:
            x = attend(state, f"blocks.{i}.1", x)
    h = x.relu().sum((2, 3))
    projection = (normalized(state, "embed")[classes] * h).sum(1, keepdim=True)
    return linear(state, "linear", h) + projection
