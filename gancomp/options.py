"""The training options: one row each, with the setting it sets; imports no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from gancomp.config import Json
from gancomp.errors import ConfigError

DATA, NETWORKS, METHOD = "Data", "Networks", "Method"
OBJECTIVE, LENGTH, SELECTION, RUN = "Teacher's objective", "Length", "Selection", "Run"
SYNTHESIS = "Synthesis"
GENERATORS = "resnet9, resnet6, mobile-resnet9, mobile-resnet6, unet256, unet128, srresnet, stylegan2, biggan"


@dataclass(frozen=True)
class Option:
    """One command line option of `pretrain` and `distill`.

    Attributes:
        flag: as typed; `--a/--no-a` for a switch.
        kind: type of its value.
        setting: dotted path of the setting, or a bare name that `Given` has a field for.
        help: one line.
        default: shown in the help; the presets decide where it says so.
        panel: group in the help.
        distil_only: whether `pretrain` lacks it.
        pretrain: the `help` and `default` that `pretrain` has instead, where they differ.
    """

    flag: str
    kind: type
    setting: str
    help: str
    default: str
    panel: str
    distil_only: bool = False
    pretrain: dict[str, str] = field(default_factory=dict)

    def of(self, command: str) -> Option:
        """The option as `command` shows it."""
        own = self.pretrain if command == "pretrain" else {}
        help, default = own.get("help", self.help), own.get("default", self.default)
        return replace(self, help=help, default=default)

    @property
    def parameter(self) -> str:
        """The name of the command function's parameter."""
        return re.sub(r"\W+", "_", self.flag.split("/")[0].removeprefix("--"))


def _option(
    panel: str, flag: str, kind: type, setting: str, help: str, default: str, **more: Any
) -> Option:
    return Option(flag, kind, setting, help, default, panel, **more)


def _distil(panel: str, flag: str, kind: type, setting: str, help: str, default: str) -> Option:
    return Option(flag, kind, setting, help, default, panel, distil_only=True)


OPTIONS: tuple[Option, ...] = (
    _option(DATA, "--dataset", str, "data.dataset", "A folder, or a known name (gancomp data list).", "none"),
    _option(DATA, "--task", str, "data.task", "unpaired or paired, where the folders leave a doubt; super-resolution; synthesis.", "as the folders say"),
    _option(DATA, "--direction", str, "data.direction", "AtoB or BtoA.", "AtoB"),
    _option(DATA, "--size", int, "data.size", "Training crop in pixels.", "256; super-resolution 96, BigGAN 128"),
    _option(DATA, "--load-size", int, "data.load_size", "Pixels before the random crop.", "286 for 256, in proportion"),
    _option(DATA, "--batch-size", int, "data.batch_size", "Images per step.", "1 unpaired, 4 paired, else the preset's"),
    _option(DATA, "--flip/--no-flip", bool, "data.flip", "Mirror half of the images.", "flip; BigGAN no-flip"),
    _option(DATA, "--strict/--no-strict", bool, "data.strict", "Stop at the first unreadable image instead of skipping it.", "no-strict"),
    _option(DATA, "--in-channels", int, "data.source.channels", "Channels of source images, 1 to 8 (unpaired, paired).", "3; of .npy files, and with --in-range, as stored"),
    _option(DATA, "--in-range", str, "data.source.range", "LOW,HIGH: their values that become -1 and 1; keeps what is deeper than 8 bits. Floats need it.", "that of 8 or 16 bits"),
    _option(DATA, "--out-channels", int, "data.target.channels", "Channels of target images.", "as --in-channels, of the targets"),
    _option(DATA, "--out-range", str, "data.target.range", "LOW,HIGH of their values.", "as --in-range, of the targets"),
    _option(DATA, "--cache", str, "data.cache", "Keep decoded images in memory: on, off or auto (if they take a quarter of the free memory at most).", "auto"),
    _option(NETWORKS, "--arch", str, "arch", f"Generator of teacher and student: {GENERATORS}.", "the preset's", pretrain={"help": f"Generator: {GENERATORS}."}),
    _option(NETWORKS, "--width", int, "teacher.network.width", "The teacher's width (ngf).", "64; StyleGAN2 512, BigGAN 96"),
    _option(NETWORKS, "--norm", str, "teacher.network.norm", "Norm of the generators: instance or batch.", "the preset's"),
    _option(NETWORKS, "--dropout", float, "teacher.network.dropout", "Dropout rate inside the generators.", "0"),
    _distil(NETWORKS, "--student-arch", str, "student_arch", "Architecture of the student alone.", "the teacher's"),
    _distil(NETWORKS, "--student-width", int, "student_width", "The student's width, instead of --ratio.", "ratio x width"),
    _option(NETWORKS, "--blocks", int, "teacher.network.blocks", "The teacher's residual blocks (srresnet).", "the preset's"),
    _distil(NETWORKS, "--student-blocks", int, "student.blocks", "The student's.", "ratio x blocks"),
    _option(NETWORKS, "--scale", int, "teacher.network.scale", "Enlarge 2 or 4 times (super-resolution).", "4"),
    _option(NETWORKS, "--d-width", int, "discriminator.width", "Width of the discriminator (ndf).", "64 unpaired, 128 paired, else the preset's"),
    _option(NETWORKS, "--d-layers", int, "discriminator.layers", "Its strided layers; 3 see 70x70 pixels.", "3"),
    _option(NETWORKS, "--d-norm", str, "discriminator.norm", "Its norm: instance or batch.", "the preset's"),
    _distil(METHOD, "--ratio", float, "ratio", "The student's channels over the teacher's.", "0.25; super-resolution (blocks too) and synthesis 0.5"),
    _distil(METHOD, "--latency-budget", str, "latency_budget", "Instead of --ratio: the widest student that takes at most this long for one image here, e.g. 25ms.", "none"),
    _distil(METHOD, "--method", str, "method.name", "What is distilled, and how (gancomp methods).", "dcd; super-resolution g2g-al, synthesis dgl"),
    _option(METHOD, "--preset", str, "method.preset", "Row of settings: dcd as the paper has it, dcd-released as its code does; more by gancomp methods.", "dcd; super-resolution div2k-x4, synthesis dgl", pretrain={"help": "Row of settings (gancomp methods).", "default": "standard"}),
    _option(METHOD, "--teacher", str, "teacher.source", "Start the teacher from this model file or run.", "trained from scratch, beside the student (dcd) or before it", pretrain={"default": "none: from scratch"}),
    _distil(METHOD, "--freeze-teacher/--train-teacher", bool, "teacher.freeze", "Keep the given teacher as it is.", "train-teacher"),
    _distil(METHOD, "--lambda-dcd", float, "method.options.lambda_dcd", "Weight of DCD's eq. 6.", "1"),
    _distil(METHOD, "--lambda-feature", float, "method.options.lambda_feature", "Weight of the VGG feature term, eq. 4.", "10"),
    _distil(METHOD, "--lambda-style", float, "method.options.lambda_style", "Weight of the VGG style term, eq. 5.", "1e4"),
    _distil(METHOD, "--lambda-student", float, "method.options.lambda_student", "Weight of the student in eq. 7, in its own and in the discriminator's loss.", "1"),
    _distil(METHOD, "--student-gan/--no-student-gan", bool, "student_gan", "Whether student and discriminator play against each other at all (L_gan of table 3).", "student-gan"),
    _distil(METHOD, "--student-fools-discriminator/--no-student-fools-discriminator", bool, "method.options.student_fools_discriminator", "The student's own GAN term.", "on"),
    _distil(METHOD, "--student-in-discriminator/--no-student-in-discriminator", bool, "method.options.student_in_discriminator", "Student fakes in the discriminator's loss.", "on"),
    _distil(METHOD, "--connector", str, "method.options.connector", "Form of f in eq. 6: conv-bn-relu or conv.", "conv-bn-relu"),
    _distil(METHOD, "--train-connectors", str, "method.options.train_connectors", "Whose f is trained: student, teacher or both.", "student"),
    _distil(METHOD, "--teacher-block-epochs", int, "method.options.teacher_block_epochs", "Train in turns: teacher epochs per block.", "0 (joint)"),
    _distil(METHOD, "--student-block-epochs", int, "method.options.student_block_epochs", "Train in turns: student epochs per block.", "0 (joint)"),
    _distil(METHOD, "--student", str, "stages.student_source", "Start the student from this model file or run (super-resolution); from this run (synthesis).", "its own stage"),
    _distil(METHOD, "--kd-weight", float, "method.options.kd_weight", "Weight of the distance to the teacher, in grey levels (SRGAN distillation).", "1e-3"),
    _distil(METHOD, "--kd-loss", str, "method.options.kd_loss", "That distance: pixel or vgg.", "pixel"),
    _option(METHOD, "--adv-weight", float, "method.options.adv_weight", "Weight of the adversarial term (super-resolution).", "1e-3"),
    _distil(METHOD, "--kd-adv-weight", float, "method.options.kd_adv_weight", "Weight of passing for the teacher (gan2gan); 0 as released.", "1e-3"),
    _distil(METHOD, "--al-start-step", int, "method.options.al_start_step", "Transfer alone before this step, the adversary after it.", "0 (jointly)"),
    _distil(METHOD, "--discriminator-from-teacher/--fresh-discriminator", bool, "method.options.discriminator_from_teacher", "Begin with the teacher's discriminator.", "fresh"),
    _option(METHOD, "--objective", str, "method.options.objective", "What a network alone learns by: gan, content or pixel (super-resolution).", "gan"),
    _option(METHOD, "--content-tap", str, "method.options.content_tap", "VGG map of the content loss (super-resolution).", "relu5_4"),
    _option(METHOD, "--content-scale", float, "method.options.content_scale", "What its values are divided by.", "12.75"),
    _option(METHOD, "--perceptual", str, "perceptual.source", "vgg16, vgg19, random (fixed seed) or none; recorded in the run.", "vgg16; super-resolution vgg19"),
    _option(METHOD, "--vgg", str, "perceptual.file", "VGG weights, .safetensors or .pth.", "$GANCOMP_VGG16 or _VGG19, else torchvision's download"),
    _option(METHOD, "--perceptual-normalise/--no-perceptual-normalise", bool, "perceptual.normalise", "Feed VGG ImageNet-normalised images.", "no, as released; super-resolution yes"),
    _option(OBJECTIVE, "--gan", str, "adversarial.gan", "lsgan, hinge or vanilla.", "lsgan unpaired, hinge paired, else the preset's"),
    _option(OBJECTIVE, "--lambda-cycle", float, "adversarial.lambda_cycle", "Cycle weight (unpaired).", "10"),
    _option(OBJECTIVE, "--lambda-identity", float, "adversarial.lambda_identity", "Identity weight, relative to the cycle's (unpaired).", "0.5"),
    _option(OBJECTIVE, "--lambda-l1", float, "adversarial.lambda_l1", "L1 weight (paired).", "100"),
    _option(OBJECTIVE, "--pool-size", int, "adversarial.pool_size", "Fakes kept to show the discriminator again.", "50 unpaired, 0 paired"),
    _distil(SYNTHESIS, "--lambda-dgl", float, "method.options.lambda_dgl", "Weight of the teacher's discriminator; 0 is the plain student.", "0.1"),
    _distil(SYNTHESIS, "--teacher-d", str, "method.options.teacher_discriminator", "The teacher's discriminator: frozen or finetune.", "frozen"),
    _distil(SYNTHESIS, "--d-multiplier", float, "method.options.d_multiplier", "Width of the student's discriminator over the teacher's.", "the ratio; BigGAN 1"),
    _distil(SYNTHESIS, "--narrow-const/--wide-const", bool, "narrow_const", "Narrow the student's learned constant too (StyleGAN2).", "wide-const"),
    _option(SYNTHESIS, "--r1-gamma", str, "method.options.r1_gamma", "Weight of R1; 0 is none, auto 0.0002 size^2 / batch (ADA's rule, for small images).", "10; short presets auto, BigGAN 0"),
    _option(SYNTHESIS, "--r1-every", int, "method.options.r1_every", "Steps from one R1 to the next.", "16"),
    _option(SYNTHESIS, "--path-weight", float, "method.options.path_weight", "Weight of the path lengths; 0 is none.", "2; BigGAN 0"),
    _option(SYNTHESIS, "--path-every", int, "method.options.path_every", "Steps from one path length to the next.", "4"),
    _option(SYNTHESIS, "--style-mixing", float, "method.options.style_mixing", "Share of batches that mix two styles.", "0.9; BigGAN 0"),
    _option(SYNTHESIS, "--ema-kimg", float, "method.options.ema_kimg", "Half-life of the generator's average, in thousands of images.", "10"),
    _option(SYNTHESIS, "--ema-beta", float, "method.options.ema_beta", "Its factor per step, instead of a half-life.", "none; BigGAN 0.9999"),
    _option(SYNTHESIS, "--ema-start", int, "method.options.ema_start", "It is but a copy until this step.", "0; BigGAN 20,000"),
    _option(SYNTHESIS, "--accumulation", int, "method.options.accumulation", "A batch passes in that many parts.", "1; BigGAN 8"),
    _option(SYNTHESIS, "--d-lr", float, "method.options.d_lr", "Adam's rate for the discriminators.", "--lr; BigGAN 4e-4"),
    _option(SYNTHESIS, "--d-steps", int, "method.options.d_steps", "Discriminator steps per generator step, each on a batch of its own.", "1"),
    _option(SYNTHESIS, "--turn-order", str, "method.options.turn_order", "Who learns first in a step: generator-first, or discriminator-first as in BigGAN's release.", "generator-first"),
    _option(SYNTHESIS, "--teacher-kimg", float, "stages.teacher_kimg", "Without --teacher: train the teacher first, for that many thousands of images.", "the preset's", pretrain={"help": "Length in thousands of images, instead of --max-steps."}),
    _distil(SYNTHESIS, "--stage1-kimg", float, "stages.stage1_kimg", "Then the student alone, for as many.", "the preset's; 0 is one stage"),
    _distil(SYNTHESIS, "--stage2-kimg", float, "stages.stage2_kimg", "Then under its teacher for as many, instead of --max-steps.", "the preset's"),
    _option(LENGTH, "--epochs", int, "schedule.epochs", "Epochs at a constant rate.", "the preset's"),
    _option(LENGTH, "--decay-epochs", int, "schedule.decay_epochs", "Epochs of linear decay to zero after that.", "100"),
    _option(LENGTH, "--max-steps", int, "schedule.max_steps", "Take at most so many steps, and as many in each stage whose length was not typed.", "none"),
    _option(LENGTH, "--max-time", str, "schedule.max_seconds", "Stop after this time, e.g. 25m or 1h30m, with a final save.", "none"),
    _option(LENGTH, "--teacher-srresnet-steps", int, "stages.teacher_srresnet_steps", "Super-resolution, stage 0a: the teacher in pixels.", "1,000,000"),
    _distil(LENGTH, "--student-srresnet-steps", int, "stages.student_srresnet_steps", "Stage 0b: the student in pixels.", "1,000,000"),
    _distil(LENGTH, "--teacher-gan-steps", int, "stages.teacher_gan_steps", "Stage 1: the teacher as SRGAN.", "200,000"),
    _distil(LENGTH, "--teacher-content-steps", int, "stages.teacher_content_steps", "Stage 1' of g2g-al: the teacher by its content loss.", "2,500"),
    _option(LENGTH, "--srresnet-lr", float, "stages.srresnet_lr", "Adam's rate in the stages in pixels.", "1e-4"),
    _option(LENGTH, "--rate-drop-step", int, "method.options.rate_drop_step", "A tenth of the rate from this step on (super-resolution).", "100,000"),
    _option(LENGTH, "--lr", float, "optimiser.lr", "Adam's learning rate.", "2e-4; super-resolution and BigGAN 1e-4, StyleGAN2 2e-3"),
    _distil(SELECTION, "--select", str, "selection.select", "Which student is handed out: last, best on images held-out from training, or best-on-test (optimistic).", "last"),
    _distil(SELECTION, "--eval-every", int, "selection.every", "Steps between scores of the student by FID.", "5000"),
    _distil(SELECTION, "--held-out", int, "selection.held_out", "Source images (pairs) kept out of training for that.", "120"),
    _option(RUN, "--out", Path, "out", "The run's folder.", "runs/DATASET-METHOD-rRATIO-sSEED", pretrain={"default": "runs/DATASET-pretrain-sSEED"}),
    _option(RUN, "--resume/--no-resume", bool, "resume", "Go on with the run in --out.", "no-resume"),
    _option(RUN, "--config", Path, "config", "TOML file for anything without an option; options win.", "none"),
    _option(RUN, "--seed", int, "run.seed", "Seed of all that is random.", "0"),
    _option(RUN, "--device", str, "run.device", "auto, cpu, cuda, cuda:N or mps.", "auto"),
    _option(RUN, "--precision", str, "run.precision", "auto, fp32 or bf16.", "auto: fp32"),
    _option(RUN, "--compile", str, "run.compile", "torch.compile for the networks: auto, on or off.", "auto: on a GPU"),
    _option(RUN, "--workers", int, "run.workers", "Processes that read images.", "2"),
    _option(RUN, "--checkpoint-every", int, "run.checkpoint_every", "Steps between checkpoints.", "1000"),
    _option(RUN, "--keep-checkpoints", int, "run.keep_checkpoints", "How many are kept.", "2"),
    _option(RUN, "--sample-every", int, "run.sample_every", "Steps between sample grids.", "500"),
    _option(RUN, "--log-every", int, "run.log_every", "Steps between lines of metrics.", "10"),
    _option(RUN, "--tensorboard/--no-tensorboard", bool, "run.tensorboard", "Write TensorBoard files too.", "no-tensorboard"),
)  # fmt: skip


def gather(typed: dict[str, Any]) -> Json:
    """What was typed, as the fields of `Given`: nested overrides and the few names of their own.

    Args:
        typed: parameter name to value; None for what was not typed.

    Raises:
        ConfigError: if `--max-time` is no time, `--r1-gamma` neither a number nor `auto`, or a
            range no two numbers.
    """
    fields: Json = {}
    overrides: Json = {}
    for option in OPTIONS:
        value = typed.get(option.parameter)
        if value is None:
            continue
        if option.flag in READ:
            value = READ[option.flag](value)
        if option.setting == "student_gan":
            for name in ("student_fools_discriminator", "student_in_discriminator"):
                put(overrides, f"method.options.{name}", value)
        elif "." in option.setting:
            put(overrides, option.setting, value)
        else:
            fields[option.setting] = value
    return {**fields, "overrides": overrides}


def put(nested: Json, path: str, value: Any) -> None:
    """Sets `nested["a"]["b"]` for the path `a.b`, making the mappings on the way."""
    *parents, name = path.split(".")
    for parent in parents:
        nested = nested.setdefault(parent, {})
    nested[name] = value


def seconds(text: str) -> float:
    """The seconds of `90`, `90s`, `25m`, `1h30m` or `1.5h`.

    Raises:
        ConfigError: if the text is no such time.
    """
    match = re.fullmatch(
        r"(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s?)?",
        text.strip(),
    )
    if not match or not any(match.groupdict().values()):
        raise ConfigError(f"--max-time {text}: is no time; write 90s, 25m or 1h30m")
    hours, minutes, rest = (float(match[name] or 0) for name in ("h", "m", "s"))
    return hours * 3600 + minutes * 60 + rest


def value_range(flag: str, text: str) -> tuple[float, float]:
    """The two numbers of `LOW,HIGH`.

    Raises:
        ConfigError: if these are no two finite numbers, the lower one first.
    """
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"{flag} {text}: write two numbers, as in {flag} 0,65535") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(f"{flag} {text}: the first number must be the lower one, both finite")
    return low, high


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
        raise ConfigError(f"--r1-gamma {text}: is no number; write 10, 0 or auto") from None


# what is typed in another form than the setting's
READ: dict[str, Callable[[str], Any]] = {
    "--max-time": seconds,
    "--r1-gamma": gamma,
    "--in-range": partial(value_range, "--in-range"),
    "--out-range": partial(value_range, "--out-range"),
}
