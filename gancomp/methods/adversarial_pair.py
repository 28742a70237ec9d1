"""A generator against its discriminator: the turns of StyleGAN2 and BigGAN, by options.

| phase | what it minimizes | with |
|---|---|---|
| the generator's | its adversarial term, and what a method adds | always |
| `path` | path lengths' distance from their running mean | styles, every 4th step |
| `discriminator` | both adversarial terms; then the average follows the generator | always |
| `r1` | the gradient of D at real images | every 16th step |

With several turns of the discriminator in a step (`d_steps`), the last two come again, as
`discriminator-2`, `r1-2` and so on; under `discriminator-first` they come before the generator's.
A lazy regularizer is a phase of its own that shares the optimizer of the phase before it; its term
is multiplied by the number of steps it stands for, and Adam's rate and betas are those of n + 1
steps in the time of n. Source: Karras et al. 2020 (StyleGAN2), appendix B; Brock et al. 2018
(BigGAN), appendix C.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from gancomp.engine.phases import Phase, Step, same
from gancomp.errors import ConfigError
from gancomp.losses.gan import generator_loss
from gancomp.losses.regularizers import path_length_penalty, path_lengths, r1_penalty
from gancomp.methods.base import adam
from gancomp.methods.ema import MovingAverage, beta_of_half_life
from gancomp.methods.synthesis_options import GanOptions
from gancomp.networks.synthesis import Latents, SynthesisDiscriminator, SynthesisGenerator
from gancomp.ranks import current
from gancomp.settings import OptimizerSettings
from gancomp.tasks.synthesis import (
    Judged,
    Styled,
    draw_in,
    fakes_of,
    judging,
    reals_of,
    source_of,
)

STYLE_BETA = 0.995  # of the running mean of styles
Extra = Callable[[Judged], dict[str, Tensor]]
Terms = dict[str, Tensor]


def automatic_r1_gamma(size: int, batch_size: int) -> float:
    """The weight of R1 for images of `size` pixels. Source: Karras et al. 2020 (ADA)."""
    return 0.0002 * size**2 / batch_size


class Standing(nn.Module):
    """What a pair's state is beside its networks.

    Attributes:
        path_mean: the running mean of path lengths.
        average_start: the average is but a copy until this step; 0 when it goes on from a stage.
    """

    path_mean: Tensor

    def __init__(self, average_start: int) -> None:
        super().__init__()
        self.register_buffer("path_mean", torch.zeros(()))
        self.average_start = average_start

    def get_extra_state(self) -> dict[str, Any]:
        """The start of the average, for `state_dict`."""
        return {"average_start": self.average_start}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Puts it back."""
        self.average_start = int(state["average_start"])


class AdversarialPair(nn.Module):
    """One generator, its discriminator, its average, and the turns they take.

    Args:
        generator: starts with the weights it has; so does its average.
        discriminator: of images of the same size.
        rules: see `GanOptions`.
        kind: of the adversarial terms: `vanilla` (logistic) or `hinge`.
        optimizer: Adam's settings, the generator's rate among them.
        seed: of the run.
        role: name of the generator's phase.

    Raises:
        ConfigError: for rules about styles, if the generator has none.
    """

    def __init__(
        self,
        generator: SynthesisGenerator,
        discriminator: SynthesisDiscriminator,
        rules: GanOptions,
        *,
        kind: str,
        optimizer: OptimizerSettings,
        seed: int,
        role: str,
    ) -> None:
        super().__init__()
        _check_rules(generator, rules)
        self.generator, self.discriminator = generator, discriminator
        self.rules, self.kind, self.seed, self.role = rules, kind, seed, role
        self.average = MovingAverage(generator)
        self.standing = Standing(rules.ema_start)
        self._latents: Latents | None = None
        if isinstance(generator, Styled):
            generator.latent_avg = None  # the average's affair from now on
        self._optimizer = optimizer

    def _generator_phases(self, after: Callable[[int], None] | None) -> list[Phase]:
        rules, generator = self.rules, self.generator
        every = rules.path_every if rules.path_weight > 0 else None
        optimizer = lazy_adam(generator, self._optimizer, every)
        phases = [Phase(self.role, generator, optimizer, after=after, variant=self._variant)]
        if every is not None:
            phases.append(Phase("path", generator, optimizer, every=every))
        return phases

    def phases(self, judges: Sequence[Phase] = ()) -> list[Phase]:
        """Generator, path lengths, discriminator, R1; new ones at every call.

        Args:
            judges: of further discriminators, behind those of the pair's own.
        """
        # the average follows when both have had their turns
        judge_first = self.rules.turn_order == "discriminator-first"
        own = judge_phases(
            self.discriminator,
            self.rules,
            self._optimizer,
            after=None if judge_first else self._follow,
            variant=self._variant,
        )
        generators = self._generator_phases(self._follow if judge_first else None)
        return [*own, *judges, *generators] if judge_first else [*generators, *own, *judges]

    def networks(self) -> dict[str, nn.Module]:
        """What a checkpoint must hold."""
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "average": self.average.network,
            "standing": self.standing,
        }

    def go_on_from(self, states: Mapping[str, Any]) -> None:
        """Takes over networks out of a checkpoint; the average has no delay then.

        The mean path length is not among them: it starts afresh, as the optimizers do.
        """
        for name in ("generator", "discriminator", "average"):
            self.networks()[name].load_state_dict(states[name])
        self.standing.average_start = 0

    def losses(self, phase: str, step: Step, extra: Extra | None = None) -> Terms:
        """Weighted terms of `phase`; `extra` adds terms about the fakes that the generator made."""
        match phase:
            case self.role:
                return self._generator_losses(step, extra)
            case "path":
                return self._in_parts(step, lambda part: self._path_losses(step, part))
        name, turn = turn_of(phase)
        if name == "discriminator":
            return self.judge_losses(step, self.discriminator, turn)
        return self.r1_losses(step, self.discriminator, turn)

    def _generator_losses(self, step: Step, extra: Extra | None) -> Terms:
        def terms_of(part: int) -> Terms:
            fakes = fakes_of(self.generator, self._draw(step, "generator", part))
            logits = fakes.by(self.discriminator)
            self.note(step, "judged", logits)
            terms = {"gan": generator_loss(self.kind, logits)}
            return terms | extra(fakes) if extra is not None else terms

        return self._in_parts(step, terms_of)

    def note(self, step: Step, name: str, logits: Tensor) -> None:
        """Logs the mean verdict on the fakes of the generator's turn; nothing minimizes it."""
        key, mean = f"{self.role}/{name}", logits.detach().float().mean() / self.rules.accumulation
        step.notes[key] = step.notes[key] + mean if key in step.notes else mean

    def _path_losses(self, step: Step, part: int) -> Terms:
        generator, rules = self.generator, self.rules
        assert isinstance(generator, Styled)
        ranks, count = current(), max(1, self._part_size(step) // 2)
        latents = self._draw(step, "path", part, count)
        styles = generator.styles(latents)
        images = generator.synthesize(styles, latents.noise)
        noise = self._path_noise(step, part, torch.Size((count, *images.shape[1:])))
        # ranks that cannot share them evenly have some twice, behind all others
        lengths = ranks.gathered(path_lengths(images, styles, noise))[:count]
        penalty, mean = path_length_penalty(lengths, self.standing.path_mean)
        self.standing.path_mean.copy_(mean)
        return {"length": rules.path_weight * rules.path_every * penalty}

    def _path_noise(self, step: Step, part: int, shape: torch.Size) -> Tensor:
        def compute(index: int) -> dict[str, Tensor]:
            source = source_of(self.generator, self.seed, "path noise", index, part)
            noise = torch.randn(shape, generator=source, device=source.device)
            return {"noise": current().own(noise)}

        return step.drawn(f"path noise {id(self)} {part}", compute)["noise"]

    def judge_losses(self, step: Step, judge: SynthesisDiscriminator, turn: int = 0) -> Terms:
        """How far `judge` is from telling its turn's images from the generator's."""
        count = self.rules.accumulation
        reals = reals_of(step, judge).part(turn, self.rules.d_steps)

        def terms_of(part: int) -> Terms:
            fakes = self._fakes(step, turn * count + part)
            return judging(self.kind, judge, reals.part(part, count), fakes)

        return self._in_parts(step, terms_of)

    def _fakes(self, step: Step, part: int) -> Judged:
        """Images to judge, without a graph; made once for all judges."""

        def make() -> Judged:
            self._latents = self._draw(step, "discriminator", part)
            with torch.no_grad():
                return fakes_of(self.generator, self._latents)

        return cast(Judged, step.once(f"fakes {part}", make))

    def r1_losses(self, step: Step, judge: SynthesisDiscriminator, turn: int = 0) -> Terms:
        """R1 of `judge` at its turn's images, for all the steps until the next one."""
        rules = self.rules
        reals = reals_of(step, judge).part(turn, rules.d_steps)
        gamma = rules.r1_gamma
        if gamma == "auto":
            count = current().size * len(reals.images)
            gamma = automatic_r1_gamma(reals.images.shape[-1], count)
        weight = gamma / 2 * rules.r1_every

        def terms_of(part: int) -> Terms:
            some = reals.part(part, rules.accumulation)

            images = some.images.detach().requires_grad_()
            # not through a compiled network: that cannot be differentiated twice
            logits = judge.forward(judge.question(images, some.classes))
            return {"gradient": weight * r1_penalty(logits, images)}

        return self._in_parts(step, terms_of)

    def _part_size(self, step: Step) -> int:
        """Images of all ranks that are gone through at once."""
        count = current().size * len(step.batch["image"])
        return count // (self.rules.d_steps * self.rules.accumulation)

    def _draw(self, step: Step, phase: str, part: int, count: int | None = None) -> Latents:
        count = self._part_size(step) if count is None else count
        mixing = self.rules.style_mixing
        return draw_in(step, self.generator, count, self.seed, phase, part, mixing=mixing)

    def _in_parts(self, step: Step, terms_of: Callable[[int], Terms]) -> Terms:
        """The mean of the terms of all parts of a batch; each part's graph goes at once."""
        count = self.rules.accumulation
        if count == 1:
            return terms_of(0)
        total: Terms = {}
        for part in range(count):
            terms = {name: term / count for name, term in terms_of(part).items()}
            for name, term in step.minimize(terms).items():
                total[name] = total[name] + term if name in total else term
        return total

    def _variant(self, index: int) -> Hashable:
        """Whether the average only copies, as it does in the first steps."""
        return index < self.standing.average_start

    def _follow(self, index: int) -> None:
        """Lets the average follow the generator, and the mean style the styles of the fakes."""
        rules, latents = self.rules, self._latents
        assert latents is not None
        beta = rules.ema_beta
        if beta is None:
            count = current().size * len(latents) * rules.accumulation
            beta = beta_of_half_life(count, rules.ema_kimg)
        self.average.follow(self.generator, 0.0 if index < self.standing.average_start else beta)
        average = self.average.network
        if isinstance(self.generator, Styled) and isinstance(average, Styled):
            with torch.no_grad():
                styles = current().gathered(self.generator.map(latents.z))
                mean, known = styles.mean(0), average.latent_avg
                if known is None:
                    average.latent_avg = mean
                else:  # in place: a replayed step knows no other
                    known.copy_(mean.lerp(known, STYLE_BETA))
        self._latents = None


def judge_phases(
    judge: SynthesisDiscriminator,
    rules: GanOptions,
    rates: OptimizerSettings,
    *,
    names: tuple[str, str] = ("discriminator", "r1"),
    after: Callable[[int], None] | None = None,
    variant: Callable[[int], Hashable] = same,
) -> list[Phase]:
    """A discriminator's turns in a step, each with its R1 unless there is none."""
    every = None if rules.r1_gamma == 0 else rules.r1_every
    lr = rates.lr if rules.d_lr is None else rules.d_lr
    optimizer = lazy_adam(judge, replace(rates, lr=lr), every)
    phases = []
    for turn in range(rules.d_steps):
        first, lazy = (name if turn == 0 else f"{name}-{turn + 1}" for name in names)
        last = turn == rules.d_steps - 1
        then = after if last else None
        phases.append(Phase(first, judge, optimizer, after=then, variant=variant))
        if every is not None:
            phases.append(Phase(lazy, judge, optimizer, every=every))
    return phases


def turn_of(phase: str) -> tuple[str, int]:
    """A phase's name without its turn, and the turn, from 0."""
    name, _, number = phase.partition("-")
    return name, int(number or 1) - 1


def lazy_adam(
    module: nn.Module, settings: OptimizerSettings, every: int | None
) -> torch.optim.Adam:
    """Adam for a phase and its lazy regularizer of every `every`-th step; None: it has none.

    With c = every / (every + 1), the rate is multiplied by c and the betas are raised to it.
    """
    c = 1.0 if every is None else every / (every + 1)
    lazy = replace(settings, lr=settings.lr * c, beta1=settings.beta1**c, beta2=settings.beta2**c)
    return adam(module, lazy)


def _check_rules(generator: SynthesisGenerator, rules: GanOptions) -> None:
    if isinstance(generator, Styled):
        return
    for field, value in (
        ("path_weight", rules.path_weight),
        ("style_mixing", rules.style_mixing),
    ):
        if value > 0:
            raise ConfigError(
                f"`{field}` {value:g}: {generator.arch} has no styles; use `{field}` 0"
            )
