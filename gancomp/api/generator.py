"""A generator out of a file: translates pictures, enlarges them, or generates them from noise."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gancomp.api.arguments import Code, spec_of
from gancomp.api.boundary import called, log
from gancomp.api.measure import profile
from gancomp.data.images import as_rgb_image
from gancomp.data.transforms import resize, to_nearest_uint8, to_tensor, to_uint8
from gancomp.engine.device import choose_device
from gancomp.errors import ConfigError
from gancomp.export.biggan import is_biggan_folder
from gancomp.export.model import LoadedModel
from gancomp.inference.enlarge import enlarge
from gancomp.inference.memory import check_memory
from gancomp.inference.models import check_generates, check_translates, choose
from gancomp.inference.sampling import Recipe, fitting_batch, sampled
from gancomp.inference.train_mode import train_mode as in_train_mode
from gancomp.networks.accelerate import FastGenerator, accelerate
from gancomp.networks.inference import run_generator
from gancomp.networks.synthesis import SynthesisGenerator
from gancomp.own_code import naming
from gancomp.paths import expanded
from gancomp.recipes.generate import GenerateRequest, check_request, read_classes
from gancomp.sizes import Size, check_size

Pixels = NDArray[np.uint8]
Images = TypeVar(
    "Images", NDArray[np.uint8], Image.Image, Tensor, list[NDArray[np.uint8]], list[Image.Image]
)
Run = Callable[[Tensor], Tensor]
KINDS = (
    "give uint8 arrays (H, W, 3) or (N, H, W, 3), PIL images, a list of either, or a float tensor "
    "(N, C, H, W) in [-1, 1]"
)
SLACK = 1e-3  # beyond [-1, 1], for what rounding does


class Generator:
    """A generator that `load` opened.

    Attributes:
        path: its file.
        part: the network of a file that holds several, as it was asked for.
        network: the `torch.nn.Module` itself, in eval mode, on its device.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        source: Path,
        part: str | None,
        device: str,
        arch: str | None = None,
    ) -> None:
        self.path, self.part, self._arch = model.path, part, arch
        self._model, self._source = model, source
        self.network = model.network.to(choose_device(device))

    def __repr__(self) -> str:
        kind = f"{self.network.arch} of width {self.network.width}"
        return f"Generator({str(self.path)!r}: {kind})"

    @property
    def metadata(self) -> dict[str, Any]:
        """What the file says of itself: a copy of its header, with `origin`, whose layout it has.

        What a file of others does not tell is None.
        """
        return copy.deepcopy(self._model.header) | {"origin": self._model.origin}

    def translate(
        self,
        images: Images,
        *,
        size: Size | None = None,
        train_mode: bool = False,
        dropout: float | None = None,
    ) -> Images:
        """The images translated, or enlarged by a generator for super-resolution.

        Pictures are computed one by one and become what `gancomp translate` writes of their files,
        bit for bit; a tensor goes through in one pass.

        Args:
            images: uint8 arrays `(H, W, 3)` or `(N, H, W, 3)`, PIL images (of any mode, turned as
                their EXIF data say), a list of either; or a float tensor `(N, C, H, W)` in
                [-1, 1]. Any height and width.
            size: of pictures: resized to this side, or height and width, first.
            train_mode: as pix2pix's test script: dropout on, norms by each image's statistics.
            dropout: its rate then; by default the model's own.

        Returns: the same kind; a tensor on the device and of the type of the one given.

        Raises:
            ConfigError: for other kinds of images, an option without effect, or a generator that
                generates images from noise.
        """
        with called():
            self._check_translates()
            check_size(size)
            run = self._runner(train_mode=train_mode, dropout=dropout)
            given: Any = images
            result: Any
            if isinstance(given, list):
                result = [self._picture(item, size, run) for item in given]
            elif isinstance(given, Tensor):
                result = self._tensor(given, size, run)
            elif isinstance(given, np.ndarray) and given.ndim == 4 and len(given):
                result = np.stack([self._picture(item, size, run) for item in given])
            else:
                result = self._picture(given, size, run)
        returned: Images = result
        return returned

    def generate(
        self,
        n: int = 64,
        seed: int = 0,
        *,
        truncation: float | None = None,
        classes: Sequence[int] | None = None,
        batch_size: int | None = None,
    ) -> Pixels:
        """Images 0 to `n` - 1 of `seed`, as `gancomp generate` writes them: `(n, H, W, 3)` uint8.

        Args:
            n: how many.
            seed: image k follows from it and k alone.
            truncation: StyleGAN2: psi; BigGAN: the noise goes no further; None for none.
            classes: taken in turns; by default drawn for each image.
            batch_size: images per pass; by default by their size.

        Raises:
            ConfigError: for impossible arguments, or an image-to-image generator.
        """
        with called():
            if not isinstance(self.network, SynthesisGenerator):
                raise ConfigError(f"{self.path}: is an image-to-image generator; use translate()")
            network = check_generates(self._model, str(self.path))
            check_request(
                GenerateRequest(
                    self.path,
                    Path(),
                    num=n,
                    seed=seed,
                    truncation=truncation,
                    batch_size=batch_size,
                )
            )
            typed = None if classes is None else ",".join(map(str, classes))
            batches = sampled(
                network,
                n,
                Recipe(seed, truncation, read_classes(typed, network)),
                batch_size=batch_size or fitting_batch(network.resolution),
            )
            return np.concatenate([to_nearest_uint8(images) for images in batches])

    def profile(
        self,
        *,
        size: Size | None = None,
        batch_size: int = 1,
        latency: bool = False,
        device: str | None = None,
        threads: int | None = None,
    ) -> dict[str, Any]:
        """What the generator costs: its row of `gancomp.profile`, with how it was timed."""
        document = profile(
            self._source,
            size=size,
            batch_size=batch_size,
            latency=latency,
            device=device,
            threads=threads,
            part=self.part,
            arch=self._arch,
        )
        row: dict[str, Any] = document["models"][0]
        return row | {"latency": document["latency"]} if latency else row

    @functools.cached_property
    def _fast(self) -> FastGenerator:
        return accelerate(self.network)

    def _runner(self, *, train_mode: bool, dropout: float | None) -> Run:
        if train_mode:
            chosen = in_train_mode(self._model, str(self.path), dropout)
            return lambda images: torch.cat([chosen.run(image[None]) for image in images])
        if dropout is not None:
            raise ConfigError(f"`dropout` {dropout:g}: only matters with `train_mode`")
        return lambda images: run_generator(self._fast, images)

    def _check_translates(self) -> None:
        if isinstance(self.network, SynthesisGenerator):
            raise ConfigError(
                f"{self.path}: generates images from noise, not from images; use generate()"
            )
        check_translates(self._model, str(self.path))

    def _picture(self, image: Any, size: Size | None, run: Run) -> Any:
        """One PIL image or array, in its own kind."""
        if isinstance(image, Image.Image):
            return Image.fromarray(self._pixels(as_rgb_image(image), size, run))
        if not isinstance(image, np.ndarray):
            raise ConfigError(f"`images`: of type {type(image).__name__}; {KINDS}")
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            shape = tuple(image.shape)
            raise ConfigError(f"`images`: an array of {image.dtype}, shape {shape}; {KINDS}")
        return self._pixels(Image.fromarray(np.ascontiguousarray(image)), size, run)

    def _pixels(self, picture: Image.Image, size: Size | None, run: Run) -> Pixels:
        """`(H, W, 3)`: cut to 8 bits as FID has it, or, if enlarged, rounded as PSNR has it."""
        settings = self.network.settings()
        channels = settings["in_channels"], settings["out_channels"]
        if channels != (3, 3):
            raise ConfigError(
                f"`images`: {self.path} takes {channels[0]} channels and gives {channels[1]}, "
                "which pictures of 8-bit RGB do not have; give a float tensor (N, C, H, W) in "
                "[-1, 1]",
            )
        picture = picture if size is None else resize(picture, size)
        if self.network.scale > 1:
            return enlarge(self.network, np.asarray(picture))
        check_memory(self.network, picture.size, "images", log)
        pixels: Pixels = to_uint8(run(to_tensor(picture)[None]))[0]
        return pixels

    def _tensor(self, images: Tensor, size: Size | None, run: Run) -> Tensor:
        channels = self.network.settings()["in_channels"]
        fits = images.is_floating_point() and images.ndim == 4 and images.shape[1] == channels
        if not fits or not images.numel():
            raise ConfigError(
                f"`images`: a tensor of {images.dtype}, shape {tuple(images.shape)}; give a float "
                f"tensor (N, {channels}, H, W) in [-1, 1]",
            )
        low, high = images.min().item(), images.max().item()
        if not (low >= -1 - SLACK and high <= 1 + SLACK):
            raise ConfigError(
                f"`images`: a tensor of values from {low:g} to {high:g}; bring them to [-1, 1]",
            )
        if size is not None:
            raise ConfigError(f"`size` {size}: has no effect on a tensor; resize it yourself")
        return run(images.detach().float()).to(images.device, images.dtype)


def load(
    path: str | os.PathLike[str],
    part: str | None = None,
    *,
    device: str = "auto",
    arch: Code | None = None,
) -> Generator:
    """The generator in a model file, or a run's student (else its teacher).

    Args:
        path: a file of gancomp's, a checkpoint of CycleGAN, pix2pix, GAN-Compression, OMGD, DCD,
            StyleGAN2 and so on, a folder of BigGAN-PyTorch's, or a run. Or an exported file, .onnx,
            .xml or .pt2, which its own runtime runs, on the CPU.
        part: network of a file that holds several, `"G_B"`.
        device: where it runs: auto, cpu, cuda, cuda:N or mps.
        arch: of a model of your own generator: its code, "FILE.py:FACTORY", or the function itself,
            which a file never loads by itself. A bare state dict of it opens, too.

    Raises:
        CheckpointError: if the file is missing, damaged or of an unknown layout.
        ConfigError: for a device that is not there.
    """
    with called():
        given = expanded(path)
        spec = spec_of(arch)
        with naming(spec, to_open=True):
            model = choose(given, part, device=device).model
        is_run = given.is_dir() and not is_biggan_folder(given)
        source = model.path if is_run else given
        return Generator(model, source=source, part=part, device=device, arch=spec)
