"""LPIPS by the package of its authors, with weights that are never others in silence."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from gancomp.errors import ConfigError, WeightsError
from gancomp.metrics.base import Pixels
from gancomp.metrics.options import LpipsOptions
from gancomp.metrics.pairs import refuse_small
from gancomp.paths import expanded
from gancomp.weight_files import hub_file, read_weights

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Backbone:
    """A network that LPIPS looks with.

    Attributes:
        name: what it is called.
        url: torchvision's weights; their SHA-256 begins with what stands after the last dash.
        megabytes: of that file.
        least: smallest side of an image that all of its layers have a position of.
    """

    name: str
    url: str
    megabytes: int
    least: int

    @property
    def hash_prefix(self) -> str:
        """How the SHA-256 of torchvision's file begins."""
        return self.url.rpartition("-")[2].partition(".")[0]


TORCHVISION = "https://download.pytorch.org/models"
BACKBONES = {
    "alex": Backbone("AlexNet", f"{TORCHVISION}/alexnet-owt-7be5be79.pth", 233, 31),
    "vgg": Backbone("VGG16", f"{TORCHVISION}/vgg16-397923af.pth", 528, 16),
}


class Lpips:
    """Learned perceptual image patch similarity, v0.1: a distance, 0 for equal images.

    Source: Zhang et al. 2018, by their package `lpips`, which brings its linear weights; those of
    the network below are torchvision's.
    """

    needs: ClassVar[Literal["pairs"]] = "pairs"
    Options = LpipsOptions

    def __init__(self, options: LpipsOptions) -> None:
        self.options = options
        self.backbone = BACKBONES[options.lpips_net]
        self._network: nn.Module | None = None
        self._weights: dict[str, Any] = {}

    def prepare(self, device: torch.device, say: Callable[[str], None]) -> None:
        """Loads the network.

        Raises:
            ConfigError: if the package is not installed.
            WeightsError: if the weights are missing, damaged, or another network's.
        """
        package = _package()
        given, item = self.options.lpips_weights, self.backbone
        what = f"LPIPS' {item.name} (ImageNet weights)"
        path = expanded(given) if given else None
        if path is not None and not path.is_file():
            raise WeightsError(
                f"`lpips_weights` {path}: no such file; give torchvision's "
                f"{item.url.rpartition('/')[2]}, or remove it to use that of TORCH_HOME"
            )
        path = path or hub_file(item.url, what=what, size=f"{item.megabytes} MB", say=say)
        state, digest = _read(path, item)
        network = self._empty(package)
        _fill(network.net, state, path, item)
        published = digest.startswith(item.hash_prefix)
        if not published:
            say(
                f"warning: {path} (sha256 {digest[:12]}) is not the file that torchvision "
                "publishes; this LPIPS compares with no other"
            )
        origin = "torchvision's" if published else "not the file that torchvision publishes"
        self._weights = {"file": path.name, "sha256": digest, "origin": origin}
        self._network = network.requires_grad_(False).eval().to(device)

    def of_pair(self, image: Pixels, reference: Pixels) -> float:
        """From 0 on."""
        assert self._network is not None, "prepare comes first"
        refuse_small(image, self.backbone.least, f"LPIPS with {self.backbone.name}")
        device = next(self._network.parameters()).device
        pair = [_tensor(pixels).to(device) for pixels in (image, reference)]
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            return float(self._network(*pair))

    def protocol(self) -> dict[str, Any]:
        """The version, and whose weights."""
        return {"version": "0.1", "network": self.backbone.name, "weights": dict(self._weights)}

    def _empty(self, package: Any) -> Any:
        """The package's network with its linear weights, the rest yet to be filled."""
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torchvision, about how the package calls it
            return package.LPIPS(net=self.options.lpips_net, pnet_rand=True, verbose=False)


def _package() -> Any:
    try:
        import lpips
    except ImportError as error:
        raise ConfigError(
            f"`metrics` lpips: needs the package {error.name or 'lpips'}; pip install "
            '"gancomp[lpips]"'
        ) from error
    return lpips


def _tensor(pixels: Pixels) -> Tensor:
    """`(1, 3, H, W)` in [-1, 1]."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


def _read(path: Path, item: Backbone) -> tuple[Mapping[str, Any], str]:
    wanted = f"give torchvision's {item.url.rpartition('/')[2]}"
    state, digest = read_weights(path, unreadable=wanted, unnamed=wanted)
    for key, value in state.items():
        if isinstance(value, Tensor) and not bool(torch.isfinite(value).all()):
            raise WeightsError(f"{path}: {key} holds values that are not finite; {wanted}")
    return state, digest


def _fill(net: nn.Module, state: Mapping[str, Any], path: Path, item: Backbone) -> None:
    """Copies `features.N.weight` to `sliceK.N.weight`.

    Raises:
        WeightsError: unless the file holds all of these, of their shapes.
    """
    parameters: Iterable[tuple[str, Tensor]] = net.named_parameters()
    for name, parameter in parameters:
        key = f"features.{name.partition('.')[2]}"
        value = state.get(key)
        if not isinstance(value, Tensor) or value.shape != parameter.shape:
            found = tuple(value.shape) if isinstance(value, Tensor) else "missing"
            raise WeightsError(
                f"{path}: not torchvision's {item.name}: {key} is {found} instead of "
                f"{tuple(parameter.shape)}; give its {item.url.rpartition('/')[2]}"
            )
        parameter.data.copy_(value)
