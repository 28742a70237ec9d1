"""StyleGAN2 a second time, written plainly from its description, on bare state dicts.

Nothing of gancomp is used here. Zeros are really inserted, every image has its own weights, gains
stand where the papers have them.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

State = Mapping[str, Tensor]


def insert_zeros(maps: Tensor) -> Tensor:
    """`(N, C, 2 H, 2 W)` with the values at even places."""
    count, channels, height, width = maps.shape
    spread = maps.new_zeros(count, channels, 2 * height, 2 * width)
    spread[:, :, ::2, ::2] = maps
    return spread


def filtered(maps: Tensor, kernel: Tensor, before: int, after: int) -> Tensor:
    """Pads with zeros and convolves each channel with `kernel`, one tap after the other."""
    padded = F.pad(maps, (before, after, before, after))
    size = kernel.shape[0]
    height, width = padded.shape[2] - size + 1, padded.shape[3] - size + 1
    total = maps.new_zeros(*maps.shape[:2], height, width)
    for row in range(size):
        for column in range(size):
            tap = kernel[size - 1 - row, size - 1 - column]
            total = total + tap * padded[:, :, row : row + height, column : column + width]
    return total


def one_by_one(maps: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """A convolution as sums over rows, columns and taps; nothing is left to a library."""
    maps = F.pad(maps, (padding,) * 4)
    size = weight.shape[-1]
    rows = range(0, maps.shape[2] - size + 1, stride)
    columns = range(0, maps.shape[3] - size + 1, stride)
    lines = [
        torch.stack(
            [
                torch.einsum("nchw,ochw->no", maps[:, :, r : r + size, c : c + size], weight)
                for c in columns
            ],
            -1,
        )
        for r in rows
    ]
    return torch.stack(lines, -2)


def spread_out(maps: Tensor, weight: Tensor) -> Tensor:
    """The transposed convolution of stride 2: each value paints its weights `(out, in, k, k)`."""
    count, _, height, width = maps.shape
    size = weight.shape[-1]
    total = maps.new_zeros(count, weight.shape[0], 2 * height - 2 + size, 2 * width - 2 + size)
    for row in range(size):
        for column in range(size):
            painted = torch.einsum("nchw,oc->nohw", maps, weight[:, :, row, column])
            place = torch.zeros_like(total)
            place[:, :, row : row + 2 * height - 1 : 2, column : column + 2 * width - 1 : 2] = (
                painted
            )
            total = total + place
    return total


def modulated_weights(weight: Tensor, factors: Tensor, demodulate: bool) -> Tensor:
    """`(N, out, in, k, k)` for a weight `(out, in, k, k)` and factors `(N, in)`."""
    scaled = weight * weight[0].numel() ** -0.5
    own = scaled[None] * factors[:, None, :, None, None]
    if demodulate:
        own = own / (own.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
    return own


def modulated_by_sample(
    maps: Tensor, weight: Tensor, factors: Tensor, *, demodulate: bool, upsample: bool
) -> Tensor:
    """Convolves each image with its own weights, in a loop over the images."""
    own = modulated_weights(weight, factors, demodulate)
    images = []
    for image, weights in zip(maps, own, strict=True):
        if upsample:
            large = spread_out(image[None], weights)
            images.append(filtered(large, kernel_of(4.0, maps), 1, 1))
        else:
            images.append(F.conv2d(image[None], weights, padding=weight.shape[-1] // 2))
    return torch.cat(images)


def modulated_in_groups(
    maps: Tensor, weight: Tensor, factors: Tensor, *, demodulate: bool, upsample: bool
) -> Tensor:
    """One convolution with a group per image, as released code has it."""
    count, channels, height, width = maps.shape
    own = modulated_weights(weight, factors, demodulate)
    outputs = own.shape[1]
    row = maps.reshape(1, count * channels, height, width)
    if upsample:
        turned = own.transpose(1, 2).flatten(0, 1)
        large = F.conv_transpose2d(row, turned, stride=2, groups=count)
        large = large.view(count, outputs, *large.shape[2:])
        return filtered(large, kernel_of(4.0, maps), 1, 1)
    maps = F.conv2d(row, own.flatten(0, 1), padding=weight.shape[-1] // 2, groups=count)
    return maps.view(count, outputs, height, width)


def kernel_of(gain: float, like: Tensor) -> Tensor:
    taps = like.new_tensor([1.0, 3.0, 3.0, 1.0])
    return taps[:, None] * taps[None, :] / 64 * gain


def dense(inputs: Tensor, state: State, name: str, lr_mul: float = 1.0) -> Tensor:
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return inputs @ (weight * lr_mul / math.sqrt(weight.shape[1])).T + bias * lr_mul


def rectified(values: Tensor) -> Tensor:
    return torch.where(values > 0, values, 0.2 * values) * math.sqrt(2)


def style_of(state: State, z: Tensor) -> Tensor:
    w = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
    layer = 1
    while f"style.{layer}.weight" in state:
        w = rectified(dense(w, state, f"style.{layer}", 0.01))
        layer += 1
    return w


def styled(
    state: State, name: str, maps: Tensor, w: Tensor, noise: Tensor, upsample: bool
) -> Tensor:
    factors = dense(w, state, f"{name}.conv.modulation")
    weight = state[f"{name}.conv.weight"][0]
    maps = modulated_by_sample(maps, weight, factors, demodulate=True, upsample=upsample)
    maps = maps + state[f"{name}.noise.weight"] * noise
    return rectified(maps + state[f"{name}.activate.bias"].view(1, -1, 1, 1))


def rgb(state: State, name: str, maps: Tensor, w: Tensor) -> Tensor:
    factors = dense(w, state, f"{name}.conv.modulation")
    weight = state[f"{name}.conv.weight"][0]
    own = modulated_weights(weight, factors, demodulate=False)[:, :, :, 0, 0]
    return torch.einsum("nchw,noc->nohw", maps, own) + state[f"{name}.bias"]


def generate(state: State, w: list[Tensor], noise: list[Tensor]) -> Tensor:
    """Images for one style `(N, S)` per styled layer and one map of noise per convolution."""
    maps = state["input.input"].expand(len(w[0]), -1, -1, -1)
    maps = styled(state, "conv1", maps, w[0], noise[0], False)
    image = rgb(state, "to_rgb1", maps, w[1])
    block = 0
    while f"to_rgbs.{block}.bias" in state:
        up, same = 2 * block, 2 * block + 1
        maps = styled(state, f"convs.{up}", maps, w[2 * block + 1], noise[up + 1], True)
        maps = styled(state, f"convs.{same}", maps, w[2 * block + 2], noise[same + 1], False)
        larger = filtered(insert_zeros(image), kernel_of(4.0, image), 2, 1)
        image = larger + rgb(state, f"to_rgbs.{block}", maps, w[2 * block + 3])
        block += 1
    return image


def convolved(state: State, name: str, maps: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    weight = state[f"{name}.weight"]
    return F.conv2d(maps, weight / math.sqrt(weight[0].numel()), stride=stride, padding=padding)


def biased(state: State, name: str, maps: Tensor) -> Tensor:
    return rectified(maps + state[f"{name}.bias"].view(1, -1, 1, 1))


def deviation_map(maps: Tensor) -> Tensor:
    """`(N, 1, H, W)`: image by image, how much the images of its group differ."""
    count, _, height, width = maps.shape
    group = min(count, 4)
    num_groups = count // group
    found = []
    for index in range(count):
        members = [maps[k * num_groups + index % num_groups] for k in range(group)]
        mean = sum(members) / group
        variance = sum((member - mean) ** 2 for member in members) / group
        found.append((variance + 1e-8).sqrt().mean())
    return torch.stack(found).view(count, 1, 1, 1).expand(-1, 1, height, width)


def judge(state: State, images: Tensor) -> Tensor:
    """Logits `(N, 1)`."""
    maps = biased(state, "convs.0.1", convolved(state, "convs.0.0", images))
    block = 1
    while f"convs.{block}.conv1.0.weight" in state:
        name = f"convs.{block}"
        kernel = kernel_of(1.0, maps)
        deep = biased(state, f"{name}.conv1.1", convolved(state, f"{name}.conv1.0", maps, 1, 1))
        deep = convolved(state, f"{name}.conv2.1", filtered(deep, kernel, 2, 2), 2)
        deep = biased(state, f"{name}.conv2.2", deep)
        plain = convolved(state, f"{name}.skip.1", filtered(maps, kernel, 1, 1), 2)
        maps = (deep + plain) / math.sqrt(2)
        block += 1
    maps = torch.cat([maps, deviation_map(maps)], 1)
    maps = biased(state, "final_conv.1", convolved(state, "final_conv.0", maps, 1, 1))
    hidden = rectified(dense(maps.flatten(1), state, "final_linear.0"))
    return dense(hidden, state, "final_linear.1")


def channels(width: int, size: int, multiplier: int = 2) -> int:
    return width if size <= 32 * multiplier else width * 32 * multiplier // size


def generator_shapes(
    width: int,
    resolution: int,
    *,
    style: int = 512,
    layers: int = 8,
    const: int = 512,
    multiplier: int = 2,
) -> dict[str, tuple[int, ...]]:
    """Every key of a generator's checkpoint and its shape, as published ones have them."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(1, layers + 1):
        shapes |= {f"style.{layer}.weight": (style, style), f"style.{layer}.bias": (style,)}
    shapes["input.input"] = (1, const, 4, 4)

    def conv(name: str, inputs: int, outputs: int, size: int) -> None:
        shapes[f"{name}.conv.weight"] = (1, outputs, inputs, size, size)
        shapes[f"{name}.conv.modulation.weight"] = (inputs, style)
        shapes[f"{name}.conv.modulation.bias"] = (inputs,)
        if size == 1:
            shapes[f"{name}.bias"] = (1, 3, 1, 1)
        else:
            shapes.update({f"{name}.noise.weight": (1,), f"{name}.activate.bias": (outputs,)})

    conv("conv1", const, width, 3)
    conv("to_rgb1", width, 3, 1)
    shapes["noises.noise_0"] = (1, 1, 4, 4)
    size, block, previous = 8, 0, width
    while size <= resolution:
        here = channels(width, size, multiplier)
        conv(f"convs.{2 * block}", previous, here, 3)
        conv(f"convs.{2 * block + 1}", here, here, 3)
        conv(f"to_rgbs.{block}", here, 3, 1)
        shapes[f"convs.{2 * block}.conv.blur.kernel"] = (4, 4)
        shapes[f"to_rgbs.{block}.upsample.kernel"] = (4, 4)
        shapes[f"noises.noise_{2 * block + 1}"] = (1, 1, size, size)
        shapes[f"noises.noise_{2 * block + 2}"] = (1, 1, size, size)
        size, block, previous = 2 * size, block + 1, here
    return shapes


def discriminator_shapes(
    width: int, resolution: int, multiplier: int = 2
) -> dict[str, tuple[int, ...]]:
    """Every key of a discriminator's checkpoint and its shape, as published ones have them."""
    here = channels(width, resolution, multiplier)
    shapes: dict[str, tuple[int, ...]] = {
        "convs.0.0.weight": (here, 3, 1, 1),
        "convs.0.1.bias": (here,),
    }
    size, block = resolution, 1
    while size > 4:
        there = channels(width, size // 2, multiplier)
        name = f"convs.{block}"
        shapes |= {
            f"{name}.conv1.0.weight": (here, here, 3, 3),
            f"{name}.conv1.1.bias": (here,),
            f"{name}.conv2.0.kernel": (4, 4),
            f"{name}.conv2.1.weight": (there, here, 3, 3),
            f"{name}.conv2.2.bias": (there,),
            f"{name}.skip.0.kernel": (4, 4),
            f"{name}.skip.1.weight": (there, here, 1, 1),
        }
        size, block, here = size // 2, block + 1, there
    return shapes | {
        "final_conv.0.weight": (width, width + 1, 3, 3),
        "final_conv.1.bias": (width,),
        "final_linear.0.weight": (width, 16 * width),
        "final_linear.0.bias": (width,),
        "final_linear.1.weight": (1, width),
        "final_linear.1.bias": (1,),
    }


def random_state(
    shapes: Mapping[str, tuple[int, ...]], seed: int = 0, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """A checkpoint of random numbers in which every tensor shows in the output."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        if name.startswith("style.") and name.endswith("weight"):
            values = values / 0.01
        elif name.startswith("style."):
            values = 10 * values  # of which a hundredth is added
        elif name.endswith("modulation.bias"):
            values = values * 0.3 + 1
        elif name.endswith("blur.kernel") or name.endswith("upsample.kernel"):
            values = kernel_of(4.0, values)
        elif name.endswith(".kernel"):
            values = kernel_of(1.0, values)
        elif name.endswith(("bias", "noise.weight")):
            values = values * 0.5
        state[name] = values.to(dtype)
    return state
