"""A ResNet with a differentiable mask behind each norm, and what is left once they are closed."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gancomp.losses.masks import closing_loss, leaving_loss, mask_of, shared_coefficients
from gancomp.networks.base import TappedNetwork
from gancomp.networks.layers import InstanceNorm2d
from gancomp.seeding import derive_generator
from gancomp.shrink.ranked import Channels, of_channels

NORMS = (nn.BatchNorm2d, InstanceNorm2d)
DEVIATION = 0.2  # of the weights that a mask begins with


class Mask(nn.Module):
    """Channels times how far each is open.

    Attributes:
        weights: one for each channel, `(C,)`.
        settled: which are out of the band for good; their weights stay as they are in `kept`.
        bound: of the band.
    """

    settled: Tensor
    kept: Tensor

    def __init__(self, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        values = torch.empty(channels).normal_(0, DEVIATION, generator=generator)
        self.weights = nn.Parameter(values)
        self.register_buffer("settled", torch.zeros(channels, dtype=torch.bool))
        self.register_buffer("kept", values.clone())
        self.bound = 1.0

    def get_extra_state(self) -> dict[str, float]:
        """What a checkpoint holds beside the tensors."""
        return {"bound": self.bound}

    def set_extra_state(self, state: dict[str, float]) -> None:
        """Puts it back."""
        self.bound = float(state["bound"])

    def forward(self, features: Tensor) -> Tensor:
        """`(N, C, H, W)` to the same shape."""
        return features * mask_of(self.weights, self.bound).view(1, -1, 1, 1)

    @torch.no_grad()
    def narrow_to(self, bound: float) -> None:
        """Narrows the band; what is outside of it now is settled."""
        self.bound = bound
        outside = (self.weights.abs() >= bound) & ~self.settled
        self.kept[outside] = self.weights[outside]
        self.settled |= outside

    @torch.no_grad()
    def hold(self) -> None:
        """Puts settled weights back, which an optimizer's momentum would move on."""
        self.weights[self.settled] = self.kept[self.settled]

    @torch.no_grad()
    def settle(self, kept: Sequence[int]) -> None:
        """Opens the channels in `kept` and closes all others, for good."""
        self.kept.fill_(-1.0)
        self.kept[torch.tensor(list(kept), dtype=torch.long, device=self.kept.device)] = 1.0
        self.weights.copy_(self.kept)
        self.settled.fill_(True)
        self.bound = 0.0


class MaskedChannels:
    """The masks of a network, by the widths that they decide.

    Args:
        network: a ResNet without masks, which gets them.
        seed: of their weights.

    Attributes:
        network: the same, with a mask behind the norm of each convolution that makes channels.
        masks: of each width, of all layers that share its channels, in the network's order.
        channels: of the network without masks.
    """

    def __init__(self, network: TappedNetwork, seed: int) -> None:
        self.plain = copy.deepcopy(network)
        self.channels = Channels(self.plain)
        self.network = network
        generator = derive_generator(seed, "init", "masks")
        self.masks: list[list[Mask]] = []
        for makers in self.channels.makers:
            own = []
            for maker in makers:
                own.append(_put_behind(network, maker.name, generator))
            self.masks.append(own)
        self.num_widths = len(self.masks)

    def all(self) -> list[Mask]:
        """Every mask."""
        return [mask for masks in self.masks for mask in masks]

    def sparsity(self, *, costly_weight: float, shared_weight: float) -> Tensor:
        """What closes the masks, before its own weight.

        Args:
            costly_weight: of the terms of the stem and the transposed convolutions.
            shared_weight: DMAD's lambda_update, of channels along the residual path.

        Source: Li et al. 2022 (DMAD), eq. 5 to 7.
        """
        bound = self.all()[0].bound
        last = self.num_widths - 1
        costly = {0, 1, last - 1, last}
        terms = []
        for place, masks in enumerate(self.masks):
            weights: list[Tensor] = [mask.weights for mask in masks]
            if place in costly:
                terms += [costly_weight * leaving_loss(each, bound) for each in weights]
            elif len(weights) > 1:
                shared = shared_coefficients(weights, bound, shared_weight)
                terms += [closing_loss(each, bound, shared) for each in weights]
            else:
                terms += [closing_loss(each, bound) for each in weights]
        return torch.stack([term.float() for term in terms]).sum()

    def scores(self) -> list[Tensor]:
        """Of each width's channels the largest mask weight `(C,)`: one open layer keeps them."""
        return [
            torch.stack([mask.weights.detach().double().cpu() for mask in masks]).amax(0)
            for masks in self.masks
        ]

    def settle(self, kept: Sequence[Sequence[int]]) -> None:
        """Opens the channels of each width in `kept`, in all layers, and closes the others."""
        for masks, channels in zip(self.masks, kept, strict=True):
            for mask in masks:
                mask.settle(channels)

    def extracted(self, kept: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """The state of the network of those channels alone, without masks."""
        state = {
            name.replace(".norm.", "."): value.detach().cpu()
            for name, value in self.network.state_dict().items()
            if ".mask." not in name
        }
        self.plain.load_state_dict(state)
        return of_channels(self.channels, kept)


class MaskedNorm(nn.Module):
    """A norm with a mask behind it."""

    def __init__(self, norm: nn.Module, mask: Mask) -> None:
        super().__init__()
        self.norm, self.mask = norm, mask

    def forward(self, features: Tensor) -> Tensor:
        """`(N, C, H, W)` to the same shape."""
        masked: Tensor = self.mask(self.norm(features))
        return masked


def _put_behind(network: nn.Module, convolution: str, generator: torch.Generator) -> Mask:
    """Puts a mask behind the norm that follows a convolution, and returns it."""
    names = [
        name
        for name, module in network.named_modules()
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, *NORMS, MaskedNorm))
    ]
    name = names[names.index(convolution) + 1]
    norm = network.get_submodule(name)
    assert isinstance(norm, NORMS), name
    mask = Mask(norm.num_features, generator)
    parent, _, key = name.rpartition(".")
    setattr(network.get_submodule(parent), key, MaskedNorm(norm, mask))
    return mask
