"""Layers whose weights are divided by their largest singular value, as BigGAN keeps them in files.

The `u0` and `sv0` beside each weight are the community's names; torch's own spectral norm has
others, and writes into its vectors where ours must stay as they are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.networks.equalized import full_precision

EPS = 1e-6


class SpectralNorm(nn.Module):
    """What such layers have in common: the estimate of the singular value, and its two buffers.

    Each forward pass takes one step of the power iteration. In training mode the vector it ends at
    is kept for the next one; in eval mode the step is taken just as well but nothing is kept, so
    that a network at rest gives the same answer every time and stays as it was saved.

    Attributes:
        u0: `(1, out)`, the left singular vector so far.
        sv0: `(1,)`, the singular value last seen in training.

    Source: Miyato et al. 2018, algorithm 1; BigGAN's release steps in eval mode, too.
    """

    weight: Tensor
    u0: Tensor
    sv0: Tensor

    def add_vectors(self) -> None:
        """Makes the buffers; to be called once the weight exists."""
        self.register_buffer("u0", torch.zeros(1, len(self.weight)))
        self.register_buffer("sv0", torch.ones(1))

    def normalized_weight(self) -> Tensor:
        """The weight over its largest singular value, in its own type even under autocast.

        The gradient flows through the singular value, too; the vectors count as constants.
        """
        with full_precision(self.weight):
            value, left = largest_singular_value(self.weight, self.u0[0])
            if self.training:
                with torch.no_grad():  # into the buffer; the graph holds `left` itself
                    self.u0.copy_(left)
                    self.sv0.copy_(value)
            return self.weight * value.reciprocal()  # whose backward pass is half a division's

    def draw(self, generator: torch.Generator) -> None:
        """A fresh layer: orthogonal weight, bias 0, `u0` from N(0, 1), `sv0` 1."""
        draw_orthogonal(self.weight, generator)
        with torch.no_grad():
            self.u0.copy_(torch.randn(self.u0.shape, generator=generator, device=generator.device))
            self.sv0.fill_(1.0)
            if isinstance(bias := getattr(self, "bias", None), Tensor):
                bias.zero_()


class SpectralConv2d(SpectralNorm, nn.Conv2d):
    """`nn.Conv2d` of stride 1 that keeps the size of its maps, by its normalized weight."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, bias: bool = True) -> None:
        nn.Conv2d.__init__(self, inputs, outputs, kernel, padding=kernel // 2, bias=bias)
        self.add_vectors()

    def forward(self, input: Tensor) -> Tensor:
        """`(N, in, H, W)` to `(N, out, H, W)`."""
        output: Tensor = self._conv_forward(input, self.normalized_weight(), self.bias)
        return output


class SpectralLinear(SpectralNorm, nn.Linear):
    """`nn.Linear` by its normalized weight."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        nn.Linear.__init__(self, inputs, outputs, bias=bias)
        self.add_vectors()

    def forward(self, input: Tensor) -> Tensor:
        """`(N, in)` to `(N, out)`."""
        return F.linear(input, self.normalized_weight(), self.bias)


class SpectralEmbedding(SpectralNorm, nn.Embedding):
    """`nn.Embedding` by its normalized table."""

    def __init__(self, count: int, channels: int) -> None:
        nn.Embedding.__init__(self, count, channels)
        self.add_vectors()

    def forward(self, input: Tensor) -> Tensor:
        """Indices `(N,)` to `(N, channels)`."""
        return F.embedding(input, self.normalized_weight())


def largest_singular_value(weight: Tensor, left: Tensor, eps: float = EPS) -> tuple[Tensor, Tensor]:
    """An estimate of the weight's largest singular value, after one step of the power iteration.

    Args:
        weight: `(out, ...)`, seen as a matrix of `out` rows.
        left: `(out,)`, the left singular vector so far; it is not written to.
        eps: least norm that a vector is divided by.

    Returns: the value, differentiable in `weight`, and the next left vector, a constant.
    """
    if weight.ndim == 4 and not weight.is_contiguous():
        weight = weight.permute(0, 2, 3, 1)  # channels_last, as it lies; columns have no order
    matrix = weight.flatten(1)
    right = F.normalize(torch.mv(matrix.detach().t(), left), dim=0, eps=eps)
    image = torch.mv(matrix, right)
    left = F.normalize(image.detach(), dim=0, eps=eps)
    return torch.dot(image, left), left


def draw_orthogonal(weight: Tensor, generator: torch.Generator) -> None:
    """Fills `weight` with orthogonal rows (or columns, if it has more rows), wherever it lies."""
    values = torch.empty(weight.shape, dtype=weight.dtype, device=generator.device)
    nn.init.orthogonal_(values, generator=generator)
    with torch.no_grad():
        weight.copy_(values)
