"""What generators of images from noise, and the discriminators beside them, have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from gancomp.networks.base import TappedNetwork


@dataclass(frozen=True)
class Latents:
    """What a generator makes a batch of images from.

    Attributes:
        z: `(N, latent_size)`, standard normal.
        classes: `(N,)` int64, or None for a network without classes.
        mixed: a second `z`; the layers from `crossover` on follow it (style mixing).
        crossover: first layer, counted from 0, that follows `mixed`; None without mixing. As a
            tensor `()` it may be the number of styles, which no layer is: nothing is mixed then.
        noise: what is added within the network, `(N, 1, h, w)` each; empty: its own constant noise,
            or none where the network knows no noise.
        truncation: StyleGAN2's psi; None: none.
    """

    z: Tensor
    classes: Tensor | None = None
    mixed: Tensor | None = None
    crossover: int | Tensor | None = None
    noise: tuple[Tensor, ...] = ()
    truncation: float | None = None

    def __len__(self) -> int:
        return len(self.z)

    def to(self, device: torch.device) -> Latents:
        """A copy on `device`."""
        moved: dict[str, Any] = {
            item.name: value.to(device)
            for item in fields(self)
            if isinstance(value := getattr(self, item.name), Tensor)
        }
        return replace(self, **moved, noise=tuple(item.to(device) for item in self.noise))

    def tensors(self) -> dict[str, Tensor]:
        """All of them by name, if nothing is given as a number."""
        assert not isinstance(self.crossover, int)
        assert self.truncation is None
        named = {
            item.name: value
            for item in fields(self)
            if isinstance(value := getattr(self, item.name), Tensor)
        }
        return named | {f"noise_{index}": value for index, value in enumerate(self.noise)}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Latents:
        """The latents whose `tensors` these are."""
        noise = [name for name in tensors if name.startswith("noise_")]
        named: dict[str, Any] = {
            name: value for name, value in tensors.items() if name not in noise
        }
        return cls(**named, noise=tuple(tensors[name] for name in noise))


@dataclass(frozen=True)
class LabeledImages:
    """Images and what they claim to show.

    Attributes:
        images: `(N, 3, H, W)` in [-1, 1].
        classes: `(N,)` int64.
    """

    images: Tensor
    classes: Tensor


class SynthesisGenerator(TappedNetwork):
    """A network that makes images out of `Latents`; its `walk` and `forward` take those.

    Attributes:
        resolution: height and width of the images.
        latent_size: numbers in a `z`.
        num_classes: how many classes it knows, None if it knows none.
    """

    size_multiple = 1
    resolution: int
    latent_size: int
    num_classes: int | None = None

    @abstractmethod
    def draw_latents(
        self,
        count: int,
        generator: torch.Generator,
        *,
        classes: Tensor | None = None,
        truncation: float | None = None,
        mixing: float = 0.0,
    ) -> Latents:
        """Random latents for `count` images, on the device of `generator`.

        Args:
            count: images.
            generator: source of all randomness.
            classes: `(count,)`; None draws them evenly where the network has classes.
            truncation: StyleGAN2: psi, 1 or None for none. BigGAN: threshold of a truncated normal.
            mixing: probability that this batch mixes two styles; 0 where there are no styles.

        Raises:
            ConfigError: for classes that the network does not have.
        """

    def draw_mixed(self, count: int, generator: torch.Generator, mixing: float) -> Latents:
        """As `draw_latents`, but whether styles are mixed is a tensor: no device is waited for."""
        return self.draw_latents(count, generator)

    def example_input(self, shape: Sequence[int]) -> Latents:
        """Latents without meaning; `shape` is `(N, latent_size)`."""
        count = shape[0]
        classes = None if self.num_classes is None else torch.zeros(count, dtype=torch.int64)
        return Latents(torch.zeros(count, self.latent_size), classes)


class SynthesisDiscriminator(TappedNetwork):
    """A network that gives each image one logit, `(N, 1)`.

    Without classes it takes images, with classes `LabeledImages`.

    Attributes:
        resolution: height and width of the images.
        num_classes: how many classes it knows, None if it knows none.
    """

    size_multiple = 1
    resolution: int
    num_classes: int | None = None

    def judge(self, images: Tensor, classes: Tensor | None = None) -> Tensor:
        """Logits `(N, 1)` for images `(N, 3, H, W)` in [-1, 1] that claim to be of `classes`."""
        logits: Tensor = self(self.question(images, classes))
        return logits

    def question(self, images: Tensor, classes: Tensor | None = None) -> Tensor | LabeledImages:
        """What `forward` takes; to be used where compiled networks cannot go, as in R1."""
        if self.num_classes is None:
            return images
        assert classes is not None
        return LabeledImages(images, classes)

    def example_input(self, shape: Sequence[int]) -> Tensor | LabeledImages:
        """Images without meaning; `shape` is `(N, 3, resolution, resolution)`."""
        return self.question(torch.zeros(tuple(shape)), torch.zeros(shape[0], dtype=torch.int64))
