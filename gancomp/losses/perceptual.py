"""The frozen VGG whose maps the perceptual losses compare, and where its weights come from."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gancomp.errors import ConfigError, WeightsError
from gancomp.networks.winograd import FrozenConv2d
from gancomp.paths import expanded
from gancomp.weight_files import hub_file, read_weights

PERCEPTUAL_SOURCES = ("vgg16", "vgg19", "random", "none")
VARIABLES = {"vgg16": "GANCOMP_VGG16", "vgg19": "GANCOMP_VGG19"}
WIDTHS = {  # configurations D and E of Simonyan and Zisserman 2015, table 1
    "vgg16": ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3),
    "vgg19": ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4),
}
CONTENT_SCALE = 12.75  # the maps are divided by it: SRGAN, section 2.2.1
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
WAYS_OUT = {
    "vgg16": "set GANCOMP_VGG16, pass `vgg` FILE, or `perceptual` none|random",
    "vgg19": "set GANCOMP_VGG19, pass `vgg` FILE, or say `perceptual` vgg16 (another loss: its "
    "taps end at relu5_3) or random (for tests)",
}


def _tap_indices(network: str) -> dict[str, int]:
    """Name -> index of every ReLU in torchvision's `features`: conv, ReLU, ..., pool per block."""
    indices, position = {}, 0
    for block, widths in enumerate(WIDTHS[network], start=1):
        for layer in range(1, len(widths) + 1):
            indices[f"relu{block}_{layer}"] = position + 1
            position += 2
        position += 1
    return indices


TAPS = {network: _tap_indices(network) for network in WIDTHS}
VGG16_TAPS, VGG19_TAPS = TAPS["vgg16"], TAPS["vgg19"]


def content_loss(maps: Tensor, wanted: Tensor, scale: float = CONTENT_SCALE) -> Tensor:
    """Mean squared difference of two feature maps, each divided by `scale`.

    Args:
        maps: `(N, C, H, W)`, of the images that are judged; gets the gradient.
        wanted: of the same shape; gets none.
        scale: of the maps. 12.75 brings those of Keras' VGG19 near the size of pixel errors;
            torchvision's weights take other inputs, so that their maps have another size.

    Source: Ledig et al. 2017 (SRGAN), eq. 5; the factor stands in section 2.2.1. The mean runs
    over channels too, as in the code of Lee and Park 2021 (eq. 5 sums over them).
    """
    return nn.functional.mse_loss(maps / scale, wanted.detach() / scale)


def content_tap(source: str) -> str:
    """The last ReLU of the network that `source` gives: the map of SRGAN's content loss.

    `relu5_4` of VGG19 (block5_conv4 after its ReLU, the last layer of torchvision's
    `features[:36]`), also for random weights; `relu5_3` of VGG16, a stand-in to be named.

    Raises:
        ConfigError: for `none`, or an unknown source.
    """
    known = {"vgg19": "relu5_4", "random": "relu5_4", "vgg16": "relu5_3"}
    if source not in known:
        raise ConfigError(
            f"`perceptual` {source}: has no content loss; choose one of {', '.join(known)}"
        )
    return known[source]


class PerceptualFeatures(nn.Module):
    """The first layers of VGG16 or VGG19, frozen, up to the deepest tap asked for.

    State keys are `features.N.weight` and `features.N.bias`, as in `torchvision.models.vgg16`.

    Args:
        state: those keys -> float tensors, for every convolution up to the deepest tap; more are
            ignored. Kept as float32.
        taps: names out of the network's `TAPS`, such as `relu2_2`.
        network: `vgg16` or `vgg19`.
        normalize: subtract ImageNet's mean and divide by its deviation after `(x + 1) / 2`.
            The OMGD, DCD and AGD releases do not, and their loss weights assume so.
        describe: what a run records about these weights; see `load_perceptual`.

    Raises:
        ConfigError: if a tap is unknown, named twice, or there is none.
    """

    is_network = True  # compiled as a whole
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        state: Mapping[str, Tensor],
        taps: Sequence[str],
        *,
        network: str = "vgg16",
        normalize: bool = False,
        describe: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        _check_taps(taps, network)
        self.taps = tuple(taps)
        self.network = network
        self.normalize = normalize
        self.describe = dict(describe or {})
        self.features = _trunk(network, self.taps)
        for name, parameter in self.features.named_parameters():
            parameter.data.copy_(state[f"features.{name}"])
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The named maps of `images`, differentiable with respect to `images` only.

        Args:
            images: `(N, 3, H, W)` in [-1, 1], or `(N, 1, H, W)`: gray is seen as three equal
                channels.

        Returns:
            Tap -> `(N, C, H / 2^b, W / 2^b)`, non-negative, in the order of `taps`.
        """
        features = (images.expand(-1, 3, -1, -1) + 1) / 2
        if self.normalize:
            features = (features - self.mean) / self.std
        names = {TAPS[self.network][tap]: tap for tap in self.taps}
        maps = {}
        for index, layer in enumerate(self.features):
            features = layer(features)
            if index in names:
                maps[names[index]] = features
        return {tap: maps[tap] for tap in self.taps}


def load_perceptual(
    source: str,
    file: Path | None,
    *,
    taps: Sequence[str],
    normalize: bool = False,
    seed: int = 0,
    say: Callable[[str], None],
) -> PerceptualFeatures | None:
    """The perceptual network from `source`, or None for `none`; never another one in its place.

    The result's `describe` holds what a run must record to be repeatable: `source`, `file` (a bare
    name), `sha256` of that file, `seed` and, if it is VGG19, `network` (random only), `taps` and
    `normalize`.

    Args:
        source: `vgg16` or `vgg19` (ImageNet weights: `file`, else the file named by GANCOMP_VGG16
            or GANCOMP_VGG19, else torchvision's, downloaded once to the torch hub folder),
            `random` (He initialization from `seed`; a VGG16, but a VGG19 where a tap is of that
            only), or `none`.
        file: `.safetensors`, or whatever `torch.load` reads without executing it; a whole network
            or its `features` only, in any float type. One of the two is never taken for the other.
        taps: names out of the network's `TAPS`.
        normalize: see `PerceptualFeatures`.
        seed: of the random weights; the global generator is left alone.
        say: told, in one line and beforehand, where a download comes from.

    Raises:
        ConfigError: if `source` or a tap is unknown, or `file` is given but would be ignored.
        WeightsError: if the weights are missing, damaged, another network's, or not to be
            downloaded.
    """
    if source not in PERCEPTUAL_SOURCES:
        raise ConfigError(
            f"`perceptual` {source}: unknown; choose one of {', '.join(PERCEPTUAL_SOURCES)}"
        )
    if file is not None and source not in WIDTHS:
        raise ConfigError(f"`vgg` {file}: has no effect with `perceptual` {source}; drop one")
    if source == "none":
        return None
    network = source if source in WIDTHS else _smallest_with(taps)
    _check_taps(taps, network)
    describe: dict[str, Any] = {"source": source, "taps": list(taps), "normalize": normalize}
    if source == "random":
        state = _random_state(network, seed)
        describe.update({"seed": seed} | ({"network": network} if network == "vgg19" else {}))
    else:
        file = _find_file(network, file, say)
        state, digest = _read_state(network, file, taps)
        describe.update(file=file.name, sha256=digest)
    return PerceptualFeatures(state, taps, network=network, normalize=normalize, describe=describe)


def _smallest_with(taps: Sequence[str]) -> str:
    """`vgg16` if it has all of them."""
    return "vgg16" if set(taps) <= VGG16_TAPS.keys() else "vgg19"


def _check_taps(taps: Sequence[str], network: str) -> None:
    unknown = [tap for tap in taps if tap not in TAPS[network]]
    if unknown or not taps or len(set(taps)) < len(taps):
        raise ConfigError(
            f"perceptual taps {list(taps)}: need at least one, each once, out of "
            f"{network}'s {', '.join(TAPS[network])}"
        )


def _conv_shapes(network: str) -> dict[int, tuple[int, int]]:
    """Index in `features` -> (channels out, channels in) of the convolutions."""
    shapes, channels = {}, 3
    relus = iter(TAPS[network].values())
    for width in (width for widths in WIDTHS[network] for width in widths):
        shapes[next(relus) - 1] = (width, channels)
        channels = width
    return shapes


def _state_shapes(network: str) -> dict[str, tuple[int, ...]]:
    """Key -> shape of every tensor of the trunk."""
    shapes: dict[str, tuple[int, ...]] = {}
    for index, (out_channels, in_channels) in _conv_shapes(network).items():
        shapes[f"features.{index}.weight"] = (out_channels, in_channels, 3, 3)
        shapes[f"features.{index}.bias"] = (out_channels,)
    return shapes


def _trunk(network: str, taps: Iterable[str]) -> nn.Sequential:
    """Layers up to the deepest of `taps`, with unset weights and no draw from the global RNG."""
    convs, relus = _conv_shapes(network), set(TAPS[network].values())
    layers: list[nn.Module] = []
    with torch.device("meta"):  # where initialization draws nothing and costs nothing
        for index in range(max(TAPS[network][tap] for tap in taps) + 1):
            if index in convs:
                out_channels, in_channels = convs[index]
                layers.append(FrozenConv2d(in_channels, out_channels, 3, padding=1))
            elif index in relus:
                # in place: nobody else reads what a convolution put out, and taps are ReLUs
                layers.append(nn.ReLU(inplace=True))
            else:
                layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers).to_empty(device="cpu")


def _random_state(network: str, seed: int) -> dict[str, Tensor]:
    """He-normal weights and zero biases; the same for a layer whatever taps are used."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, shape in _state_shapes(network).items():
        if len(shape) == 1:
            state[key] = torch.zeros(shape)
        else:
            fan_in = shape[1] * shape[2] * shape[3]
            state[key] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
    return state


def _find_file(network: str, file: Path | None, say: Callable[[str], None]) -> Path:
    variable = VARIABLES[network]
    if file is not None:
        origin = f"`vgg` {file}"
    elif os.environ.get(variable):
        file = expanded(os.environ[variable])
        origin = f"{variable}={file}"
    else:
        return _torchvision_file(network, say)
    if not file.is_file():
        raise WeightsError(
            f"{origin}: no such file; give a {network.upper()}'s weights, or {WAYS_OUT[network]}"
        )
    return file


def _torchvision_file(network: str, say: Callable[[str], None]) -> Path:
    """Torchvision's ImageNet weights in the torch hub folder, downloaded if they are not there."""
    from torchvision.models import (  # slow to import and needed on this path only
        VGG16_Weights,
        VGG19_Weights,
    )

    weights, megabytes = {"vgg16": (VGG16_Weights, 528), "vgg19": (VGG19_Weights, 548)}[network]
    return hub_file(
        weights.IMAGENET1K_V1.url,
        what=network.upper(),
        size=f"{megabytes} MB, ImageNet weights",
        say=say,
        way_out=WAYS_OUT[network],
    )


def _read_state(network: str, file: Path, taps: Sequence[str]) -> tuple[dict[str, Tensor], str]:
    """The trunk's tensors in float32 keys `features.N.*`, and the file's SHA-256."""
    way_out = WAYS_OUT[network]
    wanted = f"give {network.upper()} weights as .safetensors or .pth: {way_out}"
    content, digest = read_weights(file, unreadable=wanted, unnamed=way_out)
    state = {_with_prefix(str(key)): value for key, value in content.items()}
    state = {key: value for key, value in state.items() if not key.startswith("classifier.")}
    _check_state(network, file, state, taps)
    return state, digest


def _with_prefix(key: str) -> str:
    return f"features.{key}" if re.fullmatch(r"\d+\.(weight|bias)", key) else key


def _check_state(network: str, file: Path, state: Mapping[str, Any], taps: Sequence[str]) -> None:
    """Refuses another network; looking at the needed keys alone would let VGG19 pass for VGG16."""
    shapes, name, way_out = _state_shapes(network), network.upper(), WAYS_OUT[network]
    deepest = max(TAPS[network][tap] for tap in taps)
    needed = {key for key in shapes if int(key.split(".")[1]) < deepest}
    if odd := sorted(state.keys() - shapes.keys()) or sorted(needed - state.keys()):
        what = "missing" if odd[0] in shapes else "unexpected"
        raise WeightsError(
            f"{file}: not a {name} (without batch norm){_but_which(state)}: {what} {odd[0]} "
            f"and {len(odd) - 1} more; {way_out}"
        )
    for key, value in state.items():
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        if shape != shapes[key]:
            raise WeightsError(
                f"{file}: not a {name}: {key} is {shape} instead of {shapes[key]}; {way_out}"
            )
        if not value.is_floating_point() or not bool(torch.isfinite(value).all()):
            raise WeightsError(f"{file}: {key} holds values that are not finite floats; {way_out}")


def _but_which(state: Mapping[str, Any]) -> str:
    """`, but a VGG16` if the keys are exactly those, else nothing."""
    for network in WIDTHS:
        if state.keys() == _state_shapes(network).keys():
            return f", but a {network.upper()}"
    return ""
