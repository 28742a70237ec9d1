"""Synthesis: images from noise, judged by a discriminator; what one round of it minimizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from gancomp.engine.phases import Step
from gancomp.errors import ConfigError
from gancomp.losses.gan import discriminator_fake_loss, discriminator_real_loss, generator_loss
from gancomp.networks.base import TappedNetwork
from gancomp.networks.batching import pays_off
from gancomp.networks.stylegan2_discriminator import GROUP, apart, together
from gancomp.networks.synthesis import Latents, SynthesisDiscriminator, SynthesisGenerator
from gancomp.ranks import current
from gancomp.seeding import derive_seed
from gancomp.settings import NetworkSettings
from gancomp.sizes import Size, shown_size
from gancomp.tasks.base import Task


@runtime_checkable
class Styled(Protocol):
    """A generator between whose latents and layers there are styles, as StyleGAN2.

    Attributes:
        latent_avg: `(style_channels,)`, the mean style, or None where it is not known.
    """

    if TYPE_CHECKING:  # a buffer, which isinstance does not find since Python 3.12
        latent_avg: Tensor | None

    def map(self, z: Tensor) -> Tensor:
        """`(N, style_channels)`: the style of each latent."""

    def styles(self, latents: Latents) -> Tensor:
        """`(N, num_styles, style_channels)`: one style for each layer."""

    def synthesize(self, styles: Tensor, noise: tuple[Tensor, ...] = ()) -> Tensor:
        """`(N, 3, H, W)` from styles; can be differentiated twice."""


@dataclass(frozen=True)
class Judged:
    """Images `(N, 3, H, W)` in [-1, 1] and the classes `(N,)` that they claim to be of, if any."""

    images: Tensor
    classes: Tensor | None = None

    def part(self, index: int, count: int) -> Judged:
        """The part `index` of `count` of equal size."""
        size = len(self.images) // count
        piece = slice(index * size, (index + 1) * size)
        classes = None if self.classes is None else self.classes[piece]
        return Judged(self.images[piece], classes)

    def detached(self) -> Judged:
        """Without a graph."""
        return Judged(self.images.detach(), self.classes)

    def by(self, discriminator: SynthesisDiscriminator) -> Tensor:
        """Its logits `(N, 1)`."""
        return discriminator.judge(self.images, self.classes)


class SynthesisTask(Task):
    """One generator of images from noise and one discriminator, without pools.

    A batch has `image` `(N, 3, H, W)` and, where the data has classes, `label` `(N,)`. With a
    teacher, generator and discriminator are the teacher's: what a student and its own
    discriminator do is their method's affair.
    """

    name = "synthesis"

    @staticmethod
    def discriminator_settings(
        generator: TappedNetwork, settings: NetworkSettings
    ) -> NetworkSettings:
        """The discriminator sees the image alone."""
        return settings

    @property
    def players(self) -> tuple[SynthesisGenerator, SynthesisDiscriminator]:
        """The two networks, as what they are."""
        generator, discriminator = self.generator, self.discriminator
        if not (
            isinstance(generator, SynthesisGenerator)
            and isinstance(discriminator, SynthesisDiscriminator)
        ):
            raise ConfigError(
                f"`arch` {generator.arch}: does not generate images from noise; use stylegan2 or "
                "biggan"
            )
        return generator, discriminator

    def teacher_networks(self) -> nn.Module:
        """The generator."""
        return self.generator

    def discriminator_networks(self) -> nn.Module:
        """The discriminator."""
        return self.discriminator

    def check_size(self, size: Size) -> None:
        """Refuses images of another size than the networks' own.

        Raises:
            ConfigError: naming `--size`.
        """
        for network in self.players:
            if network.resolution != size:
                raise ConfigError(
                    f"`size` {shown_size(size)}: {network.arch} of this run is for "
                    f"{network.resolution} pixels"
                )

    def generator_losses(self, step: Step) -> dict[str, Tensor]:
        """The plain adversarial term, without mixing or regularizers."""
        generator, discriminator = self.players
        fakes = self.plain_fakes(step, generator)
        return {"gan": generator_loss(self.settings.gan, fakes.by(discriminator))}

    def discriminator_losses(
        self, step: Step, student_fake: Tensor | None = None, lambda_student: float = 1.0
    ) -> dict[str, Tensor]:
        """The plain terms: images of the batch are real, the generator's (the student's) fake."""
        generator, discriminator = self.players
        reals = reals_of(step, discriminator)
        if student_fake is not None:
            fakes = Judged(student_fake, reals.classes)
        else:
            with torch.no_grad():
                fakes = self.plain_fakes(step, generator)
        losses = judging(self.settings.gan, discriminator, reals, fakes)
        return losses | {"fake": lambda_student * losses["fake"]}

    def plain_fakes(self, step: Step, generator: SynthesisGenerator) -> Judged:
        """As many images as the batch has."""
        count = current().size * len(step.batch["image"])
        return fakes_of(generator, draw_in(step, generator, count, self.seed, "plain"))


def reals_of(step: Step, discriminator: SynthesisDiscriminator) -> Judged:
    """The batch's images; without labels all are of class 0 for a discriminator with classes."""
    images, classes = step.batch["image"], step.batch.get("label")
    if discriminator.num_classes is None:
        return Judged(images)
    if classes is None:
        classes = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    return Judged(images, classes)


def draw(
    generator: SynthesisGenerator, count: int, seed: int, *keys: str | int, mixing: float = 0.0
) -> Latents:
    """Latents for `count` images that follow from `seed` and `keys` alone, on `generator`'s device.

    Nothing random has a state, so that a resumed run draws what an unbroken one does.
    """
    return generator.draw_latents(
        count, source_of(generator, seed, "latents", *keys), mixing=mixing
    )


def draw_in(
    step: Step,
    generator: SynthesisGenerator,
    count: int,
    seed: int,
    *keys: str | int,
    mixing: float = 0.0,
) -> Latents:
    """The latents that `draw` gives for `keys` with the step's index put behind the first of them.

    They are drawn for `count` images of all ranks together, of which this one has its rows. Whether
    styles are mixed is a tensor, see `SynthesisGenerator.draw_mixed`.
    """
    first, *others = keys
    ranks = current()

    def compute(index: int) -> dict[str, Tensor]:
        source = source_of(generator, seed, "latents", first, index, *others)
        drawn = generator.draw_mixed(count, source, mixing).tensors()
        return {name: ranks.own(item) if item.dim() else item for name, item in drawn.items()}

    name = " ".join(map(str, ("latents", id(generator), *keys)))
    return Latents.of(step.drawn(name, compute))


def source_of(network: nn.Module, seed: int, *keys: str | int) -> torch.Generator:
    """A source of random numbers on the device of `network`, seeded by `seed` and `keys`."""
    device = next(network.parameters()).device
    return torch.Generator(device).manual_seed(derive_seed(seed, *keys))


def fakes_of(generator: SynthesisGenerator, latents: Latents) -> Judged:
    """What the generator makes of them."""
    return Judged(generator(latents), latents.classes)


def judging(
    kind: str, discriminator: SynthesisDiscriminator, reals: Judged, fakes: Judged
) -> dict[str, Tensor]:
    """A discriminator's two terms; `fakes` are cut off from their generator.

    `vanilla`: mean softplus(-D(x)) and mean softplus(D(G(z))); `hinge`: mean relu(1 - D(x)) and
    mean relu(1 + D(G(z))).
    """
    real, fake = verdicts(discriminator, reals, fakes.detached())
    return {
        "real": discriminator_real_loss(kind, real),
        "fake": discriminator_fake_loss(kind, fake),
    }


def verdicts(
    discriminator: SynthesisDiscriminator, reals: Judged, fakes: Judged
) -> tuple[Tensor, Tensor]:
    """The logits of as many real images as fake ones.

    With classes both pass as one batch, as BigGAN's do: a spectral norm's vectors move once per
    pass. StyleGAN2's groups of images are never mixed of both; one pass must keep them apart.
    """
    images = (reals.images, fakes.images)
    if reals.classes is not None and fakes.classes is not None:
        classes = torch.cat([reals.classes, fakes.classes])
        real, fake = discriminator.judge(torch.cat(images), classes).chunk(2)
        return real, fake
    whole = current().size == 1  # else groups are of several ranks' images
    if whole and pays_off(reals.images.device) and len(reals.images) % GROUP == 0:
        return apart(discriminator.judge(together(*images)))
    return reals.by(discriminator), fakes.by(discriminator)
