"""Layers of image-to-image generators that compute what torch's do, in less memory or time.

`InstanceNorm2d` keeps the memory layout of its input, with float32 statistics: `F.instance_norm`
makes it contiguous, so that in a channels_last network every norm would copy its map twice, and
every convolution behind it would run in the slower layout. `ReflectionPad2d` keeps nothing for its
gradient on a CPU. `ImageConv2d` computes very few channels, such as an image's, in tiles of 2x2.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TILE = 2  # larger tiles would waste more on zeros than they gain


class InstanceNorm2d(nn.InstanceNorm2d):
    """`nn.InstanceNorm2d` without parameters or running statistics, for any memory layout."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)

    def forward(self, input: Tensor) -> Tensor:
        """`(N, C, H, W)` to the same shape, layout and type."""
        return instance_norm(input, self.eps)


def instance_norm(features: Tensor, eps: float = 1e-5) -> Tensor:
    """Each channel of each image shifted to mean 0 and scaled to variance 1.

    Args:
        features: `(N, C, H, W)` with more than one position, of any memory layout and type.
        eps: added to the variance.

    Returns: the same shape, layout and type; statistics are computed in float32 at least.

    Raises:
        ValueError: if there is only one position, which has no variance.

    Source: Ulyanov et al. 2016; equal to `F.instance_norm`.
    """
    if features.shape[2] * features.shape[3] == 1:
        raise ValueError(f"instance norm of {tuple(features.shape)}: needs more than 1 position")
    if features.dtype in (torch.bfloat16, torch.float16):
        return instance_norm(features.float(), eps).to(features.dtype)
    if features.is_contiguous() or not _in_channels_last(features):
        # without rows and columns: given a single image's gradient in channels_last, torch 2.15's
        # backward pass on CPUs would be wrong
        return F.instance_norm(features.flatten(2), eps=eps).view(features.shape)
    if _is_kept(features):
        if torch.is_grad_enabled() and features.requires_grad:
            normed: Tensor = _ImageByImage.apply(features, eps)[0]
            return normed
        return _normed_by_kernel(features, eps)[0]
    variance, mean = torch.var_mean(features, dim=(2, 3), correction=0, keepdim=True)
    return (features - mean) * torch.rsqrt(variance + eps)


def _in_channels_last(features: Tensor) -> bool:
    return features.is_contiguous(memory_format=torch.channels_last)


def _is_kept(features: Tensor) -> bool:
    """Whether the norm of maps like these keeps its output for the gradient (`_ImageByImage`)."""
    return features.device.type == "cpu" and _in_channels_last(features)


class _ImageByImage(torch.autograd.Function):
    """By the batch norm kernel, the only fast one that the CPU has for channels_last.

    The gradient is computed from the output, so that the input need not be kept: its memory is
    used again while it is still in the processor's cache, and the layer behind a norm mostly keeps
    its output anyway. Nothing may be written to that output in place.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """As `_normed_by_kernel`; the second output is for second derivatives only."""
        normed, inverse = _normed_by_kernel(features, eps)
        ctx.save_for_backward(normed, inverse)
        ctx.set_materialize_grads(False)
        return normed, inverse

    @staticmethod
    def backward(
        ctx: Any, grad_normed: Tensor | None, grad_inverse: Tensor | None
    ) -> tuple[Tensor, None]:
        """In differentiable steps where a second derivative is wanted, else by the kernel."""
        normed, inverse = ctx.saved_tensors
        inverse = inverse[:, :, None, None]
        if grad_normed is None:
            gradient = torch.zeros_like(normed)
        elif torch.is_grad_enabled():
            along = (grad_normed * normed).mean(dim=(2, 3), keepdim=True)
            centered = grad_normed - grad_normed.mean(dim=(2, 3), keepdim=True)
            gradient = (centered - normed * along) * inverse
        else:
            gradient = _gradient_by_kernel(grad_normed, normed, inverse)
        if grad_inverse is not None:
            share = grad_inverse[:, :, None, None] / (normed.shape[2] * normed.shape[3])
            gradient = gradient - share * inverse**2 * normed
        return gradient, None


def _normed_by_kernel(features: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The normed maps and each map's 1 / deviation, `(N, C)`.

    Of a single image, the statistics of the batch are those of the instance.
    """
    num, channels = features.shape[:2]
    if num == 1:
        normed, _, inverse = torch.native_batch_norm(
            features, None, None, None, None, True, 0.0, eps
        )
        return normed, inverse[None]
    normed, inverse = torch.empty_like(features), features.new_empty(num, channels)
    mean = features.new_empty(channels)
    for k in range(num):
        torch.native_batch_norm(
            *(features[k : k + 1], None, None, None, None, True, 0.0, eps),
            out=(normed[k : k + 1], mean, inverse[k]),
        )
    return normed, inverse


def _gradient_by_kernel(grad_normed: Tensor, normed: Tensor, inverse: Tensor) -> Tensor:
    """The gradient by the input, as that of a batch norm of `normed` with weights `inverse`."""
    channels = normed.shape[1]
    zeros, ones = normed.new_zeros(channels), normed.new_ones(channels)

    def of_image(grad_normed: Tensor, normed: Tensor, inverse: Tensor) -> Tensor:
        gradient: Tensor = torch.ops.aten.native_batch_norm_backward(
            *(grad_normed, normed, inverse.flatten(), None, None),
            *(zeros, ones, True, 0.0, [True, False, False]),
        )[0]
        return gradient

    if len(normed) == 1:
        return of_image(grad_normed, normed, inverse)
    images = zip(torch.split(grad_normed, 1), torch.split(normed, 1), inverse, strict=True)
    return torch.cat([of_image(*image) for image in images])


class ReLUAfterNorm(nn.ReLU):
    """`nn.ReLU` that keeps its input for the gradient, where the norm before it does so, too."""

    def forward(self, input: Tensor) -> Tensor:
        """The same shape and layout; never in place."""
        return F.threshold(input, 0.0, 0.0) if _is_kept(input) else F.relu(input)


class ConvBeforeNorm2d(nn.Conv2d):
    """`nn.Conv2d` with an InstanceNorm right behind it, in whose bias nothing is to be learnt.

    The bias shifts a whole map, and the norm takes that off again: the exact gradient is 0. torch
    would read the map's gradient once more to find rounding errors of that 0, which Adam would then
    scale to full steps.
    """

    def forward(self, input: Tensor) -> Tensor:
        """`(N, in, H, W)` to `(N, out, h, w)`; the bias gets no gradient."""
        bias = None if self.bias is None else self.bias.detach()
        output: Tensor = self._conv_forward(input, self.weight, bias)
        return output


class TransposedConvBeforeNorm2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d`, else as `ConvBeforeNorm2d`."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """`(N, in, H, W)` to `(N, out, h, w)`; the bias gets no gradient."""
        assert output_size is None, "the output's size follows from the input's"
        return F.conv_transpose2d(
            input,
            self.weight,
            None if self.bias is None else self.bias.detach(),
            self.stride,
            self.padding,  # type: ignore[arg-type]  # a word only for convolutions
            self.output_padding,
            self.groups,
            self.dilation,
        )


# by the name of the norm that follows: BatchNorm's running statistics do notice a bias
CONV_BEFORE: dict[str, type[nn.Conv2d]] = {"instance": ConvBeforeNorm2d, "batch": nn.Conv2d}
TRANSPOSED_CONV_BEFORE: dict[str, type[nn.ConvTranspose2d]] = {
    "instance": TransposedConvBeforeNorm2d,
    "batch": nn.ConvTranspose2d,
}
RELU_AFTER: dict[str, type[nn.ReLU]] = {"instance": ReLUAfterNorm, "batch": nn.ReLU}


class ReflectionPad2d(nn.ReflectionPad2d):
    """`nn.ReflectionPad2d` that, on a CPU, does not hold its input: its shape is all that counts.

    torch's own keeps the input until the backward pass, a whole map in front of every convolution
    that keeps the padded one anyway.
    """

    def forward(self, input: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, C, H + top + bottom, W + left + right)`."""
        if input.device.type == "cpu" and torch.is_grad_enabled() and input.requires_grad:
            padded: Tensor = _Reflected.apply(input, self.padding)
            return padded
        return super().forward(input)


class _Reflected(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, padding: tuple[int, int, int, int]) -> Tensor:
        ctx.shape, ctx.strides, ctx.padding = features.shape, features.stride(), padding
        return F.pad(features, padding, mode="reflect")

    @staticmethod
    def backward(ctx: Any, grad_padded: Tensor) -> tuple[Tensor, None]:
        # torch looks at its shape and layout only, so that it may hold anything
        features = torch.empty_strided(
            ctx.shape, ctx.strides, dtype=grad_padded.dtype, device=grad_padded.device
        )
        gradient = torch.ops.aten.reflection_pad2d_backward(grad_padded, features, ctx.padding)
        return gradient, None


class ImageConv2d(nn.Conv2d):
    """`nn.Conv2d` with stride 1 and without padding, for the layer that ends in an image.

    Vector units and tensor cores work on 8 or 16 output channels at a time; with 3 most of each
    idles. Here each output position computes a tile of 2x2 pixels: the kernel stands four times,
    at four offsets, in a kernel one larger, with stride 2 and 12 output channels, and a pixel
    shuffle puts the tiles together. The added products are with zeros.
    """

    def forward(self, input: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, out, H - k + 1, W - k + 1)`."""
        height, width = (
            length - kernel + 1
            for length, kernel in zip(input.shape[2:], self.kernel_size, strict=True)
        )
        # without numbers there is nothing to be fast at, and costs are those of the convolution
        if input.is_meta or height % TILE or width % TILE:
            return super().forward(input)
        weight, bias = tiled(self.weight, self.bias)
        return F.pixel_shuffle(F.conv2d(input, weight, bias, stride=TILE), TILE)


def tiled(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The kernel and bias with which a convolution of stride 2 computes tiles of 2x2 pixels.

    Args:
        weight: `(out, in, k, l)`.
        bias: `(out,)` or None.

    Returns: `(4 out, in, k + 1, l + 1)` and `(4 out,)`, in the order that `pixel_shuffle` takes.
    """
    offsets = [(row, column) for row in range(TILE) for column in range(TILE)]
    last = TILE - 1
    shifted = [F.pad(weight, (left, last - left, top, last - top)) for top, left in offsets]
    layout = torch.channels_last if is_channels_last(weight) else torch.contiguous_format
    kernel = torch.stack(shifted, dim=1).flatten(0, 1).contiguous(memory_format=layout)
    return kernel, None if bias is None else bias.repeat_interleave(TILE**2)


def is_channels_last(values: Tensor) -> bool:
    """Whether `values` lie in channels_last order and in no other."""
    return values.is_contiguous(memory_format=torch.channels_last) and not values.is_contiguous()
