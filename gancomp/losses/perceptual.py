"""The frozen VGG16 whose maps the perceptual losses compare, and where its weights come from."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from gancomp.errors import ConfigError, WeightsError, why_unreadable

PERCEPTUAL_SOURCES = ("vgg16", "random", "none")
VGG16_VARIABLE = "GANCOMP_VGG16"
WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
WAY_OUT = f"set {VGG16_VARIABLE}, pass --vgg FILE, or --perceptual none|random"


def _tap_indices() -> dict[str, int]:
    """Name -> index of every ReLU in torchvision's `features`: conv, ReLU, ..., pool per block."""
    indices, position = {}, 0
    for block, widths in enumerate(WIDTHS, start=1):
        for layer in range(1, len(widths) + 1):
            indices[f"relu{block}_{layer}"] = position + 1
            position += 2
        position += 1
    return indices


VGG16_TAPS = _tap_indices()


class PerceptualFeatures(nn.Module):
    """The first layers of VGG16, frozen, up to the deepest tap asked for.

    State keys are `features.N.weight` and `features.N.bias`, as in `torchvision.models.vgg16`.

    Args:
        state: those keys -> float tensors, for every convolution up to the deepest tap; more are
            ignored. Kept as float32.
        taps: names out of `VGG16_TAPS`, such as `relu2_2`.
        normalise: subtract ImageNet's mean and divide by its deviation after `(x + 1) / 2`.
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
        normalise: bool = False,
        describe: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        _check_taps(taps)
        self.taps = tuple(taps)
        self.normalise = normalise
        self.describe = dict(describe or {})
        self.features = _trunk(self.taps)
        for name, parameter in self.features.named_parameters():
            parameter.data.copy_(state[f"features.{name}"])
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The named maps of `images`, differentiable with respect to `images` only.

        Args:
            images: `(N, 3, H, W)` in [-1, 1].

        Returns:
            Tap -> `(N, C, H / 2^b, W / 2^b)`, non-negative, in the order of `taps`.
        """
        features = (images + 1) / 2
        if self.normalise:
            features = (features - self.mean) / self.std
        names = {VGG16_TAPS[tap]: tap for tap in self.taps}
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
    normalise: bool = False,
    seed: int = 0,
    announce: Callable[[str], None],
) -> PerceptualFeatures | None:
    """The perceptual network from `source`, or None for `none`; never another one in its place.

    The result's `describe` holds what a run must record to be repeatable: `source`, `file` (a bare
    name), `sha256` of that file, `seed` (random only), `taps` and `normalise`.

    Args:
        source: `vgg16` (ImageNet weights: `file`, else the file named by GANCOMP_VGG16, else
            torchvision's, downloaded once to the torch hub folder), `random` (He initialisation
            from `seed`), or `none`.
        file: `.safetensors`, or whatever `torch.load` reads without executing it; a whole VGG16 or
            its `features` only, in any float type.
        taps: names out of `VGG16_TAPS`.
        normalise: see `PerceptualFeatures`.
        seed: of the random weights; the global generator is left alone.
        announce: told, in one line and beforehand, where a download comes from.

    Raises:
        ConfigError: if `source` or a tap is unknown, or `file` is given but would be ignored.
        WeightsError: if the weights are missing, damaged, not a VGG16's, or not to be downloaded.
    """
    if source not in PERCEPTUAL_SOURCES:
        raise ConfigError(
            f"--perceptual {source}: unknown; choose one of {', '.join(PERCEPTUAL_SOURCES)}"
        )
    if file is not None and source != "vgg16":
        raise ConfigError(f"--vgg {file}: has no effect with --perceptual {source}; drop one")
    _check_taps(taps)
    if source == "none":
        return None
    describe: dict[str, Any] = {"source": source, "taps": list(taps), "normalise": normalise}
    if source == "random":
        state = _random_state(seed)
        describe["seed"] = seed
    else:
        file = _find_file(file, announce)
        state, digest = _read_state(file, taps)
        describe.update(file=file.name, sha256=digest)
    return PerceptualFeatures(state, taps, normalise=normalise, describe=describe)


def _check_taps(taps: Sequence[str]) -> None:
    unknown = [tap for tap in taps if tap not in VGG16_TAPS]
    if unknown or not taps or len(set(taps)) < len(taps):
        raise ConfigError(
            f"perceptual taps {list(taps)}: need at least one, each once, out of "
            f"{', '.join(VGG16_TAPS)}"
        )


def _conv_shapes() -> dict[int, tuple[int, int]]:
    """Index in `features` -> (channels out, channels in) of the 13 convolutions."""
    shapes, channels = {}, 3
    relus = iter(VGG16_TAPS.values())
    for width in (width for widths in WIDTHS for width in widths):
        shapes[next(relus) - 1] = (width, channels)
        channels = width
    return shapes


def _state_shapes() -> dict[str, tuple[int, ...]]:
    """Key -> shape of every tensor of the trunk."""
    shapes: dict[str, tuple[int, ...]] = {}
    for index, (out_channels, in_channels) in _conv_shapes().items():
        shapes[f"features.{index}.weight"] = (out_channels, in_channels, 3, 3)
        shapes[f"features.{index}.bias"] = (out_channels,)
    return shapes


def _trunk(taps: Iterable[str]) -> nn.Sequential:
    """Layers up to the deepest of `taps`, with unset weights and no draw from the global RNG."""
    convs, relus = _conv_shapes(), set(VGG16_TAPS.values())
    layers: list[nn.Module] = []
    with torch.device("meta"):  # where initialisation draws nothing and costs nothing
        for index in range(max(VGG16_TAPS[tap] for tap in taps) + 1):
            if index in convs:
                out_channels, in_channels = convs[index]
                layers.append(nn.Conv2d(in_channels, out_channels, 3, padding=1))
            elif index in relus:
                # in place: nobody else reads what a convolution put out, and taps are ReLUs
                layers.append(nn.ReLU(inplace=True))
            else:
                layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers).to_empty(device="cpu")


def _random_state(seed: int) -> dict[str, Tensor]:
    """He-normal weights and zero biases; the same for a layer whatever taps are used."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, shape in _state_shapes().items():
        if len(shape) == 1:
            state[key] = torch.zeros(shape)
        else:
            fan_in = shape[1] * shape[2] * shape[3]
            state[key] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
    return state


def _find_file(file: Path | None, announce: Callable[[str], None]) -> Path:
    if file is not None:
        origin = f"--vgg {file}"
    elif os.environ.get(VGG16_VARIABLE):
        file = Path(os.environ[VGG16_VARIABLE])
        origin = f"{VGG16_VARIABLE}={file}"
    else:
        return _torchvision_file(announce)
    if not file.is_file():
        raise WeightsError(f"{origin}: no such file; give a VGG16's weights, or {WAY_OUT}")
    return file


def _torchvision_file(announce: Callable[[str], None]) -> Path:
    """Torchvision's ImageNet VGG16 in the torch hub folder, downloaded if it is not there."""
    from torchvision.models import VGG16_Weights  # slow to import and needed on this path only

    url: str = VGG16_Weights.IMAGENET1K_V1.url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if path.is_file():
        return path
    announce(f"downloading VGG16 (528 MB, ImageNet weights) from {url} to {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), _hash_prefix(path), progress=False)
    except (OSError, HTTPException, RuntimeError) as error:
        raise WeightsError(
            f"VGG16 could not be downloaded from {url} ({why_unreadable(error)}); {WAY_OUT}"
        ) from error
    return path


def _hash_prefix(path: Path) -> str:
    """What the file's SHA-256 must begin with: torch hub puts it behind the name's last dash."""
    return path.stem.rsplit("-", 1)[-1]


def _read_state(file: Path, taps: Sequence[str]) -> tuple[dict[str, Tensor], str]:
    """The trunk's tensors in float32 keys `features.N.*`, and the file's SHA-256."""
    try:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if file.suffix == ".safetensors":
            content: Any = load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the readers raise almost anything
        raise WeightsError(
            f"{file}: not readable as weights ({why_unreadable(error)}); give VGG16 weights as "
            f".safetensors or .pth: {WAY_OUT}"
        ) from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{file}: holds {type(content).__name__}, not named weights; {WAY_OUT}")
    state = {_with_prefix(str(key)): value for key, value in content.items()}
    state = {key: value for key, value in state.items() if not key.startswith("classifier.")}
    _check_state(file, state, taps)
    return state, digest


def _with_prefix(key: str) -> str:
    return f"features.{key}" if re.fullmatch(r"\d+\.(weight|bias)", key) else key


def _check_state(file: Path, state: Mapping[str, Any], taps: Sequence[str]) -> None:
    """Refuses what is no VGG16; looking at the needed keys alone would let a VGG19 pass."""
    shapes = _state_shapes()
    deepest = max(VGG16_TAPS[tap] for tap in taps)
    needed = {key for key in shapes if int(key.split(".")[1]) < deepest}
    if odd := sorted(state.keys() - shapes.keys()) or sorted(needed - state.keys()):
        what = "missing" if odd[0] in shapes else "unexpected"
        raise WeightsError(
            f"{file}: not a VGG16 (without batch norm): {what} {odd[0]} "
            f"and {len(odd) - 1} more; {WAY_OUT}"
        )
    for key, value in state.items():
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        if shape != shapes[key]:
            raise WeightsError(
                f"{file}: not a VGG16: {key} is {shape} instead of {shapes[key]}; {WAY_OUT}"
            )
        if not value.is_floating_point() or not bool(torch.isfinite(value).all()):
            raise WeightsError(f"{file}: {key} holds values that are not finite floats; {WAY_OUT}")
