"""A narrower ResNet out of a wider one: which channels stay, and the weights that go with them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gancomp.networks.base import TappedNetwork
from gancomp.networks.resnet import ResidualBlock


def carried_over(wide: TappedNetwork, narrow: TappedNetwork) -> dict[str, Tensor]:
    """The weights of `wide` that the narrower ResNet `narrow` begins with.

    From layer to layer: a layer's inputs are the outputs chosen before, and its own outputs are
    chosen by the L1 norms of what is left of its filters. Along the residual path they stay those
    of the last strided convolution; the image's own channels stay as they are.

    Args:
        wide: a ResNet, dense or mobile.
        narrow: of the same kind and number of blocks, not wider; on any device, even meta.

    Returns: a state dict for `narrow`.

    Source: Li et al. 2020 (GAN Compression), `weight_transfer.py` of the released code.
    """
    return _Transfer(wide, narrow).state


class _Transfer:
    def __init__(self, wide: TappedNetwork, narrow: TappedNetwork) -> None:
        self.wide, self.narrow = wide, narrow
        self.state: dict[str, Tensor] = {}
        modules: list[nn.Module] = list(wide.get_submodule("model").children())
        self.last = max(k for k, module in enumerate(modules) if isinstance(module, nn.Conv2d))
        inputs = torch.arange(int(wide.settings()["in_channels"]))
        for index, module in enumerate(modules):
            inputs = self._through(f"model.{index}", module, inputs, is_last=index == self.last)

    def _through(self, name: str, module: nn.Module, inputs: Tensor, *, is_last: bool) -> Tensor:
        """What comes out of a layer, as indices of the wide network's channels."""
        if isinstance(module, ResidualBlock):
            self._block(name, module, inputs)
            return inputs
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            fixed = torch.arange(module.out_channels) if is_last else None
            return self._convolution(name, module, inputs, fixed)
        self._norm(name, module, inputs)
        return inputs

    def _block(self, name: str, block: ResidualBlock, residual: Tensor) -> None:
        inside, num_convolutions = residual, 0
        for key, module in block.conv_block.named_children():
            path = f"{name}.conv_block.{key}"
            convolution = module[-1] if isinstance(module, nn.Sequential) else module
            separable = list(module.named_children()) if hasattr(module, "conv") else []
            if separable or isinstance(convolution, nn.Conv2d):
                num_convolutions += 1
                fixed = residual if num_convolutions == 2 else None
                if separable:
                    inside = self._separable(
                        f"{path}.conv", module.get_submodule("conv"), inside, fixed
                    )
                else:
                    assert isinstance(convolution, nn.Conv2d)
                    inside = self._convolution(path, convolution, inside, fixed)
            else:
                self._norm(path, module, inside)

    def _separable(
        self, name: str, layers: nn.Module, inputs: Tensor, fixed: Tensor | None
    ) -> Tensor:
        """A depthwise convolution, whose channels are its inputs', a norm and a pointwise one."""
        for key, module in layers.named_children():
            path = f"{name}.{key}"
            if isinstance(module, nn.Conv2d) and module.groups > 1:
                self._take(path, module, inputs)
            elif isinstance(module, nn.Conv2d):
                inputs = self._convolution(path, module, inputs, fixed)
            else:
                self._norm(path, module, inputs)
        return inputs

    def _convolution(
        self,
        name: str,
        module: nn.Conv2d | nn.ConvTranspose2d,
        inputs: Tensor,
        fixed: Tensor | None,
    ) -> Tensor:
        along = 0 if isinstance(module, nn.ConvTranspose2d) else 1
        weight = module.weight.detach().index_select(along, inputs)
        outputs = fixed
        if outputs is None:
            wanted = self.narrow.get_submodule(name)
            assert isinstance(wanted, nn.Conv2d | nn.ConvTranspose2d)
            norms = weight.abs().sum(dim=(along, 2, 3))
            outputs = torch.topk(norms, wanted.out_channels).indices  # the largest first
        self.state[f"{name}.weight"] = weight.index_select(1 - along, outputs).clone()
        if module.bias is not None:
            self.state[f"{name}.bias"] = module.bias.detach()[outputs].clone()
        return outputs

    def _norm(self, name: str, module: nn.Module, channels: Tensor) -> None:
        if isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
            self._take(name, module, channels)

    def _take(self, name: str, module: nn.Module, channels: Tensor) -> None:
        """All that is counted by the layer's channels."""
        for key, value in module.state_dict().items():
            taken = value.detach()[channels] if value.dim() else value.detach()
            self.state[f"{name}.{key}"] = taken.clone()
