"""The knobs of training StyleGAN2 and BigGAN, and of DGL-GAN, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gancomp.declare import Unused, setting, zero
from gancomp.errors import ConfigError
from gancomp.methods.synthesis_presets import PRESETS as PRESETS

_has_beta = Unused(
    lambda settings, options: getattr(options, "ema_beta", None) is not None, "`ema_beta`"
)


def gamma(text: str) -> float | str:
    """The number, or `auto`.

    Raises:
        ConfigError: if the text is neither.
    """
    if text.strip() == "auto":
        return "auto"
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"`r1_gamma` {text}: is no number; write 10, 0 or auto") from None


@dataclass(frozen=True)
class GanOptions:
    """The rules of the adversarial pair.

    Attributes:
        r1_gamma: of R1; `auto` is 0.0002 size^2 / batch (Karras et al. 2020, ADA), 0 is none.
        r1_every: steps from one R1 to the next.
        path_weight: of the path length regularizer; 0 is none.
        path_every: steps from one to the next.
        style_mixing: share of the batches in which two styles are mixed.
        ema_kimg: half-life of the average in thousands of images.
        ema_beta: the average's factor per step, instead of a half-life.
        ema_start: the average is but a copy until this step.
        accumulation: a batch passes in that many parts, whose gradients add up.
        d_lr: the discriminator's rate; None is the generator's.
        d_steps: turns of the discriminator in a step, each with images of its own: the batch holds
            that many times as many (BigGAN's release; DGL-GAN's on CIFAR-10 has 4).
        turn_order: whose turn comes first; StyleGAN2's release has the generator's, BigGAN's the
            discriminator's.
    """

    r1_gamma: float | Literal["auto"] = setting(
        "auto",
        "--r1-gamma",
        "Weight of R1; 0 is none, auto 0.0002 size^2 / batch (ADA's rule, for small images).",
        least=0.0,
        shown="10; short presets auto, BigGAN 0",
        kind=str,
        reads=gamma,
    )
    r1_every: int = setting(
        16, "--r1-every", "Steps from one R1 to the next.", least=1, unused=(zero("r1_gamma"),)
    )
    path_weight: float = setting(
        2.0,
        "--path-weight",
        "Weight of the path lengths; 0 is none.",
        least=0.0,
        shown="2; BigGAN 0",
    )
    path_every: int = setting(
        4,
        "--path-every",
        "Steps from one path length to the next.",
        least=1,
        unused=(zero("path_weight"),),
    )
    style_mixing: float = setting(
        0.9,
        "--style-mixing",
        "Share of batches that mix two styles.",
        least=0.0,
        most=1.0,
        shown="0.9; BigGAN 0",
    )
    ema_kimg: float = setting(
        10.0,
        "--ema-kimg",
        "Half-life of the generator's average, in thousands of images.",
        above=0.0,
        unit="thousands of images",
        unused=(_has_beta,),
    )
    ema_beta: float | None = setting(
        None,
        "--ema-beta",
        "EMA factor per step, instead of a half-life.",
        least=0.0,
        most=0.999999,
        shown="none; BigGAN 0.9999",
    )
    ema_start: int = setting(
        0, "--ema-start", "Start EMA at this step.", least=0, shown="0; BigGAN 20,000"
    )
    accumulation: int = setting(
        1,
        "--accumulation",
        "Parts of a batch to accumulate gradients over.",
        least=1,
        most=4096,
        shown="1; BigGAN 8",
    )
    d_lr: float | None = setting(
        None,
        "--d-lr",
        "Adam's rate for the discriminators.",
        above=0.0,
        most=10.0,
        shown="`lr`; BigGAN 4e-4",
    )
    d_steps: int = setting(
        1,
        "--d-steps",
        "Discriminator steps per generator step, each on a batch of its own.",
        least=1,
        most=100,
    )
    turn_order: Literal["generator-first", "discriminator-first"] = setting(
        "generator-first",
        "--turn-order",
        "Which network is updated first: generator-first, or discriminator-first as in BigGAN's "
        "release.",
    )


@dataclass(frozen=True)
class DglOptions(GanOptions):
    """The pair's rules, and the teacher's part in it.

    Attributes:
        lambda_dgl: weight of the teacher's discriminator in the generator's loss; at 0 it is not
            even asked.
        teacher_discriminator: whether it stays as it is or learns from the student's images.
        d_multiplier: width of the student's discriminator over the teacher's; None is the
            generators' ratio for StyleGAN2, 1 for BigGAN.
    """

    lambda_dgl: float = setting(
        0.1,
        "--lambda-dgl",
        "Weight of the teacher's discriminator; 0 is the plain student.",
        least=0.0,
    )
    teacher_discriminator: Literal["frozen", "finetune"] = setting(
        "frozen",
        "--teacher-d",
        "The teacher's discriminator: frozen or finetune.",
        unused=(zero("lambda_dgl"),),
    )
    d_multiplier: float | None = setting(
        None,
        "--d-multiplier",
        "Width of the student's discriminator over the teacher's.",
        above=0.0,
        most=1.0,
        shown="the ratio; BigGAN 1",
    )

    @property
    def is_guided(self) -> bool:
        """Whether the teacher's discriminator takes part."""
        return self.lambda_dgl > 0


UNGUIDED = {"lambda_dgl": 0.0}  # the options of a student that plays against its own alone
