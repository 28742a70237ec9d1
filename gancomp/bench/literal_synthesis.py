"""StyleGAN2's training step written plainly, the way descriptions and simple code have it.

It is what `gancomp bench synthesis` times gancomp's step against, and what the tests hold its
losses and weights to. Each image is convolved with its own weights, one after the other; filters
put zeros between values and multiply them, in every channel and at full resolution; noise, bias,
activation and gain pass over the maps one by one; a discriminator judges real and fake images
apart, and collects weight gradients that are thrown away while the generator is trained; all maps
are contiguous float32; the optimizer is torch's own.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.methods.synthesis import Gan
from gancomp.networks.stylegan2 import StyleGAN2
from gancomp.networks.stylegan2_discriminator import StyleGAN2Discriminator
from gancomp.networks.synthesis import Latents
from gancomp.settings import OptimizerSettings
from gancomp.tasks.synthesis import draw, source_of

EPS = 1e-8
PATH_DECAY = 0.01  # of the mean path length
STYLE_DECAY = 0.005  # of the mean style
GENERATOR, PATH, DISCRIMINATOR, R1 = PHASES = ("teacher", "path", "discriminator", "r1")


class LiteralGenerator(nn.Module):
    """Images out of latents, with the weights of a copy of `network`, none of whose code is run."""

    def __init__(self, network: StyleGAN2) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(True)

    def forward(self, latents: Latents) -> Tensor:
        """`(N, 3, H, W)`."""
        return self.synthesize(self.styles(latents), latents.noise)

    def map(self, z: Tensor) -> Tensor:
        """`(N, S)`: the style of each z."""
        vectors = z.to(self.network.input.input.dtype)
        vectors = vectors / torch.sqrt(vectors.square().mean(1, keepdim=True) + EPS)
        for layer in list(self.network.style)[1:]:
            vectors = dense(layer, vectors)
        return vectors

    def styles(self, latents: Latents) -> Tensor:
        """`(N, L, S)`: layers from the crossover on follow the second z."""
        layers = [self.map(latents.z)] * self.network.num_styles
        if latents.mixed is not None and isinstance(latents.crossover, int):
            rest = self.network.num_styles - latents.crossover
            layers = layers[: latents.crossover] + [self.map(latents.mixed)] * rest
        return torch.stack(layers, 1)

    def synthesize(self, styles: Tensor, noise: tuple[Tensor, ...]) -> Tensor:
        """`(N, 3, H, W)` from styles `(N, L, S)` and one map of noise per convolution."""
        network = self.network
        features = network.input.input.repeat(len(styles), 1, 1, 1)
        features = styled(network.conv1, features, styles[:, 0], noise[0])
        image = to_rgb(network.to_rgb1, features, styles[:, 1], None)
        for index, convolution in enumerate(network.convs):
            features = styled(convolution, features, styles[:, index + 1], noise[index + 1])
            if index % 2:
                image = to_rgb(network.to_rgbs[index // 2], features, styles[:, index + 2], image)
        return image


class LiteralDiscriminator(nn.Module):
    """Logits of images, with the weights of a copy of `network`, none of whose code is run."""

    def __init__(self, network: StyleGAN2Discriminator) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(True)

    def forward(self, images: Tensor) -> Tensor:
        """`(N, 1)`."""
        first, *blocks = self.network.convs
        features = convolution(first, images)
        for block in blocks:
            features = residual(block, features)
        features = convolution(self.network.final_conv, with_deviation(features))
        vectors = features.flatten(1)
        for layer in self.network.final_linear:
            vectors = dense(layer, vectors)
        return vectors


def dense(layer: Any, vectors: Tensor) -> Tensor:
    """A linear layer with equalized rates."""
    weight = layer.weight * (layer.lr_mul / math.sqrt(layer.weight.shape[1]))
    outputs = F.linear(vectors, weight, layer.bias * layer.lr_mul)
    return activated(outputs) if layer.activate else outputs


def activated(features: Tensor) -> Tensor:
    """Leaky ReLU, then its gain."""
    return F.leaky_relu(features, 0.2) * math.sqrt(2)


def filtered(
    features: Tensor, kernel: Tensor, *, before: int, after: int, enlarged: bool = False
) -> Tensor:
    """Each channel convolved with `kernel`; zeros around it, and between its values if enlarged."""
    count, channels, height, width = features.shape
    if enlarged:
        spread = features.new_zeros(count, channels, 2 * height, 2 * width)
        spread[:, :, ::2, ::2] = features
        features = spread
    maps = F.pad(features, (before, after, before, after))
    maps = F.conv2d(maps.flatten(0, 1)[:, None], kernel[None, None])
    return maps.view(count, channels, *maps.shape[2:])


def modulated(layer: Any, features: Tensor, style: Tensor) -> Tensor:
    """Each image convolved with weights of its own."""
    factors = dense(layer.modulation, style)
    outputs = []
    for image, scales in zip(torch.split(features, 1), factors, strict=True):
        weight = layer.weight[0] / math.sqrt(layer.weight[0, 0].numel())
        weight = weight * scales[:, None, None]
        if layer.demodulate:
            norm = torch.sqrt(weight.square().sum((1, 2, 3), keepdim=True) + EPS)
            weight = weight / norm
        if layer.upsample:
            outputs.append(F.conv_transpose2d(image, weight.transpose(0, 1), stride=2))
        else:
            outputs.append(F.conv2d(image, weight, padding=weight.shape[-1] // 2))
    if not layer.upsample:
        return torch.cat(outputs)
    return filtered(torch.cat(outputs), layer.blur.kernel, before=1, after=1)


def styled(layer: Any, features: Tensor, style: Tensor, noise: Tensor) -> Tensor:
    """A modulated convolution, noise, bias, activation, gain."""
    features = modulated(layer.conv, features, style)
    features = features + layer.noise.weight * noise
    return activated(features + layer.activate.bias.view(1, -1, 1, 1))


def to_rgb(layer: Any, features: Tensor, style: Tensor, smaller: Tensor | None) -> Tensor:
    """An image out of features, added to the smaller one, enlarged."""
    image: Tensor = modulated(layer.conv, features, style) + layer.bias
    if smaller is None:
        return image
    kernel = layer.upsample.kernel
    return image + filtered(smaller, kernel, before=2, after=1, enlarged=True)


def convolution(layer: Any, features: Tensor, stride: int = 1) -> Tensor:
    """A convolution with equalized rates, its bias and activation."""
    weight = layer[-2].weight / math.sqrt(layer[-2].weight[0].numel())
    padding = 0 if stride == 2 else weight.shape[-1] // 2
    features = F.conv2d(features, weight, stride=stride, padding=padding)
    return activated(features + layer[-1].bias.view(1, -1, 1, 1))


def residual(block: Any, features: Tensor) -> Tensor:
    """Two convolutions, the second to half the size, beside one of 1x1; half their sum's square."""
    deep = convolution(block.conv1, features)
    deep = filtered(deep, block.conv2[0].kernel, before=2, after=2)
    deep = convolution(block.conv2, deep, stride=2)
    plain = filtered(features, block.skip[0].kernel, before=1, after=1)
    weight = block.skip[1].weight
    plain = F.conv2d(plain, weight / math.sqrt(weight.shape[1]), stride=2)
    return (deep + plain) / math.sqrt(2)


def with_deviation(features: Tensor) -> Tensor:
    """One channel more: how much the images of a group of 4, or of all if fewer, differ."""
    count, _, height, width = features.shape
    groups = max(1, count // 4)
    deviations = []
    for index in range(groups):
        deviation = torch.sqrt(features[index::groups].var(0, correction=0) + EPS)
        deviations.append(deviation.mean())
    maps = torch.stack(deviations).repeat(count // groups).view(count, 1, 1, 1)
    return torch.cat([features, maps.expand(count, 1, height, width)], 1)


class LiteralSynthesis:
    """Trains copies of a pair's networks; gives the same losses and the same weights.

    Args:
        method: StyleGAN2's, with the options it has by default.
        optimizer: Adam's settings, without what lazy regularizers make of them.
    """

    def __init__(self, method: Gan, optimizer: OptimizerSettings) -> None:
        pair = method.pair
        assert isinstance(pair.generator, StyleGAN2)
        assert isinstance(pair.discriminator, StyleGAN2Discriminator)
        self.rules, self.seed = pair.rules, pair.seed
        self.generator = LiteralGenerator(pair.generator)
        self.discriminator = LiteralDiscriminator(pair.discriminator)
        self.average = copy.deepcopy(self.generator)
        self.average_style: Tensor | None = None
        self.mean_length = torch.zeros_like(self.generator.network.conv1.noise.weight[0])
        generating = self._adam(self.generator, optimizer, self.rules.path_every)
        judging = self._adam(self.discriminator, optimizer, self.rules.r1_every)
        self.optimizers = {GENERATOR: generating, PATH: generating, DISCRIMINATOR: judging}
        self.optimizers[R1] = judging

    @staticmethod
    def _adam(module: nn.Module, optimizer: OptimizerSettings, every: int) -> torch.optim.Adam:
        share = every / (every + 1)
        betas = optimizer.beta1**share, optimizer.beta2**share
        return torch.optim.Adam(
            module.parameters(), lr=optimizer.lr * share, betas=betas, eps=optimizer.eps
        )

    def step(self, index: int, images: Tensor) -> dict[str, float]:
        """Step `index` of a training, counted from 0, with the regularizers that it has."""
        every = {PATH: self.rules.path_every, R1: self.rules.r1_every}
        phases = [phase for phase in PHASES if index % every.get(phase, 1) == 0]
        return self.turns(phases, index, images)

    def turns(self, phases: list[str], index: int, images: Tensor) -> dict[str, float]:
        """The given phases on real `images` `(N, 3, H, W)` in [-1, 1]; all weighted terms by name.

        Args:
            phases: of `PHASES`.
            index: number of the step, which random numbers follow.
            images: a batch.
        """
        losses: dict[str, float] = {}
        latents = self.draw(DISCRIMINATOR, index, len(images))
        turns: dict[str, Callable[[], dict[str, Tensor]]] = {
            GENERATOR: lambda: self.generator_losses(self.draw(GENERATOR, index, len(images))),
            PATH: lambda: self.path_losses(index, max(1, len(images) // 2)),
            DISCRIMINATOR: lambda: self.discriminator_losses(images, latents),
            R1: lambda: self.r1_losses(images),
        }
        for phase in phases:
            terms = turns[phase]()
            self.optimizers[phase].zero_grad()
            torch.autograd.backward(torch.stack(list(terms.values())).sum())
            self.optimizers[phase].step()
            if phase == DISCRIMINATOR:
                self.follow(latents)
            losses |= {f"{phase}/{term}": value.item() for term, value in terms.items()}
        return losses

    def draw(self, phase: str, index: int, count: int) -> Latents:
        """The latents and the noise that gancomp's step draws, too."""
        network, mixing = self.generator.network, self.rules.style_mixing
        phase = "generator" if phase == GENERATOR else phase
        return draw(network, count, self.seed, phase, index, 0, mixing=mixing)

    def generator_losses(self, latents: Latents) -> dict[str, Tensor]:
        """The logistic term that does not saturate."""
        logits = self.discriminator(self.generator(latents))
        return {"gan": F.softplus(-logits).mean()}

    def path_losses(self, index: int, count: int) -> dict[str, Tensor]:
        """How far the lengths of paths are from their running mean."""
        latents = self.draw(PATH, index, count)
        styles = self.generator.styles(latents)
        images = self.generator.synthesize(styles, latents.noise)
        source = source_of(self.generator, self.seed, "path noise", index, 0)
        noise = torch.randn(images.shape, generator=source, device=images.device)
        noise = noise / math.sqrt(images.shape[2] * images.shape[3])
        (gradient,) = torch.autograd.grad((images * noise).sum(), styles, create_graph=True)
        lengths = torch.sqrt(gradient.square().sum(2).mean(1))
        mean = self.mean_length + PATH_DECAY * (lengths.mean() - self.mean_length)
        self.mean_length = mean.detach()
        weight = self.rules.path_weight * self.rules.path_every
        return {"length": weight * (lengths - mean).square().mean()}

    def discriminator_losses(self, images: Tensor, latents: Latents) -> dict[str, Tensor]:
        """Both logistic terms."""
        fakes = self.generator(latents).detach()
        real, fake = self.discriminator(images), self.discriminator(fakes)
        return {"real": F.softplus(-real).mean(), "fake": F.softplus(fake).mean()}

    def r1_losses(self, images: Tensor) -> dict[str, Tensor]:
        """The squared gradient at real images, with the weight of Karras et al. 2020 (ADA)."""
        gamma = self.rules.r1_gamma
        if gamma == "auto":
            gamma = 0.0002 * images.shape[-1] ** 2 / len(images)
        images = images.detach().clone().requires_grad_(True)
        logits = self.discriminator(images)
        (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        penalty = gradient.square().sum((1, 2, 3)).mean()
        return {"gradient": gamma / 2 * self.rules.r1_every * penalty}

    @torch.no_grad()
    def follow(self, latents: Latents) -> None:
        """Moves the average of the weights, and that of the styles of `latents`."""
        beta = 0.5 ** (len(latents) / (1000 * self.rules.ema_kimg))
        pairs = zip(self.average.parameters(), self.generator.parameters(), strict=True)
        for mean, value in pairs:
            mean.mul_(beta).add_(value * (1 - beta))
        style, known = self.generator.map(latents.z).mean(0), self.average_style
        self.average_style = style if known is None else known + STYLE_DECAY * (style - known)
