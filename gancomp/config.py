"""One frozen settings object per concern; all mistakes reported at once; JSON and TOML."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from gancomp.errors import ConfigError
from gancomp.records import shown

Json = dict[str, Any]
T = TypeVar("T")


def setting(default: Any, flag: str | None = None, **limits: Any) -> Any:
    """A dataclass field with its command line flag and the limits its value must keep.

    Limits: `above` (exclusive minimum), `least` (inclusive minimum), `most` (inclusive maximum).
    """
    metadata = {"flag": flag, **limits}
    if default is dataclasses.MISSING:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class PixelSettings:
    """How the files of one side hold their images; plain 8-bit RGB where there is no range.

    `range` holds the values that become -1 and 1; `dtype` follows from the files.
    """

    channels: int | None = setting(None, least=1, most=8)
    range: tuple[float, ...] | None = setting(None)
    dtype: Literal["uint8", "uint16", "int32", "float32"] | None = setting(None)

    @property
    def num_channels(self) -> int:
        """What a network takes or gives."""
        return self.channels or 3


@dataclass(frozen=True)
class DataSettings:
    """Which images, and how they are cut: sizes in pixels, batch size in images."""

    dataset: str = setting(dataclasses.MISSING, "--dataset")
    task: str = setting("unpaired", "--task")
    direction: Literal["AtoB", "BtoA"] = setting("AtoB", "--direction")
    size: int = setting(256, "--size", least=8, most=4096)
    load_size: int = setting(286, "--load-size", least=8, most=8192)
    batch_size: int = setting(1, "--batch-size", least=1, most=4096)
    flip: bool = setting(True, "--flip")
    strict: bool = setting(False, "--strict")
    cache: Literal["auto", "on", "off"] = setting("auto", "--cache")
    source: PixelSettings = PixelSettings()
    target: PixelSettings = PixelSettings()


@dataclass(frozen=True)
class NetworkSettings:
    """What the registry needs to build one network, None where its own default holds.

    `layers` and `crop` are discriminators'. The last six are those of synthesis: StyleGAN2 has
    `style_channels`, `mapping_layers` and `const_channels`, BigGAN `num_classes` and `attention`.
    """

    arch: str = setting(dataclasses.MISSING)
    width: int = setting(64, least=1, most=4096)
    norm: Literal["instance", "batch"] | None = setting(None)
    in_channels: int | None = setting(None, None, least=1, most=1024)
    out_channels: int | None = setting(None, None, least=1, most=1024)
    dropout: float | None = setting(None, None, least=0.0, most=0.999)
    layers: int | None = setting(None, least=1, most=8)
    blocks: int | None = setting(None, least=1, most=1024)
    scale: int | None = setting(None, least=1, most=16)
    crop: int | None = setting(None, None, least=8, most=4096)
    channels: tuple[int, ...] | None = setting(None, None)
    resolution: int | None = setting(None, None, least=16, most=1024)
    num_classes: int | None = setting(None, None, least=1, most=100_000)
    attention: tuple[int, ...] | None = setting(None, None)
    style_channels: int | None = setting(None, None, least=1, most=4096)
    mapping_layers: int | None = setting(None, None, least=1, most=64)
    const_channels: int | None = setting(None, None, least=1, most=4096)

    def arguments(self) -> Json:
        """The keyword arguments for the registry's factory: all that was set, less the name."""
        values = dataclasses.asdict(self)
        del values["arch"]
        return {key: value for key, value in values.items() if value is not None}


# one class describes three networks, another two sides, each with options of its own
NETWORK_FLAGS = {
    "data.source.channels": "--in-channels",
    "data.source.range": "--in-range",
    "data.target.channels": "--out-channels",
    "data.target.range": "--out-range",
    "teacher.network.arch": "--arch",
    "teacher.network.width": "--width",
    "teacher.network.norm": "--norm",
    "teacher.network.dropout": "--dropout",
    "student.arch": "--student-arch",
    "teacher.network.blocks": "--blocks",
    "teacher.network.scale": "--scale",
    "student.width": "--student-width",
    "student.blocks": "--student-blocks",
    "discriminator.width": "--d-width",
    "discriminator.layers": "--d-layers",
    "discriminator.norm": "--d-norm",
}


@dataclass(frozen=True)
class AdversarialSettings:
    """The task's own objective (CycleGAN: cycle, identity; pix2pix: L1), before any distillation.

    Sources: CycleGAN (Zhu et al. 2017), section 4, and its code; pix2pix (Isola et al. 2017).
    """

    gan: Literal["lsgan", "hinge", "vanilla"] = setting("lsgan", "--gan")
    lambda_cycle: float = setting(10.0, "--lambda-cycle", least=0.0)
    lambda_identity: float = setting(0.5, "--lambda-identity", least=0.0)
    lambda_l1: float = setting(100.0, "--lambda-l1", least=0.0)
    pool_size: int = setting(50, "--pool-size", least=0, most=100_000)


@dataclass(frozen=True)
class OptimiserSettings:
    """Adam for every phase."""

    lr: float = setting(2e-4, "--lr", above=0.0, most=10.0)
    beta1: float = setting(0.5, None, least=0.0, most=0.9999)
    beta2: float = setting(0.999, None, least=0.0, most=0.99999)
    eps: float = setting(1e-8, None, above=0.0, most=1.0)


@dataclass(frozen=True)
class ScheduleSettings:
    """`epochs` at a constant rate, then `decay_epochs` linearly to zero, within the limits."""

    epochs: int = setting(100, "--epochs", least=0, most=1_000_000)
    decay_epochs: int = setting(100, "--decay-epochs", least=0, most=1_000_000)
    max_steps: int | None = setting(None, "--max-steps", least=1)
    max_seconds: float | None = setting(None, "--max-time", above=0.0)


@dataclass(frozen=True)
class PerceptualSettings:
    """Where the perceptual loss takes its features from; `none` is a choice, never a fallback."""

    source: Literal["vgg16", "vgg19", "random", "none"] = setting("vgg16", "--perceptual")
    file: str | None = setting(None, "--vgg")
    normalise: bool = setting(False, "--perceptual-normalise")


@dataclass(frozen=True)
class MethodSettings:
    """The method's registry name and its own options, which the method itself validates."""

    name: str = setting("dcd", "--method")
    preset: str = setting("dcd", "--preset")
    options: Json = field(default_factory=dict)


@dataclass(frozen=True)
class RunSettings:
    """How the run is carried out; only seed and precision change what a step computes."""

    seed: int = setting(0, "--seed", least=0, most=2**63 - 1)
    device: str = setting("auto", "--device")
    precision: Literal["auto", "fp32", "bf16"] = setting("auto", "--precision")
    compile: Literal["auto", "on", "off"] = setting("auto", "--compile")
    workers: int = setting(2, "--workers", least=0, most=256)
    checkpoint_every: int = setting(1000, "--checkpoint-every", least=1)
    keep_checkpoints: int = setting(2, "--keep-checkpoints", least=1, most=1000)
    sample_every: int = setting(500, "--sample-every", least=1)
    log_every: int = setting(10, "--log-every", least=1)
    tensorboard: bool = setting(False, "--tensorboard")


@dataclass(frozen=True)
class SelectionSettings:
    """Which state of the student is handed out in the end, and by which images it is chosen."""

    select: Literal["last", "held-out", "best-on-test"] = setting("last", "--select")
    every: int = setting(5000, "--eval-every", least=1)
    held_out: int = setting(120, "--held-out", least=2)


@dataclass(frozen=True)
class StageSettings:
    """What super-resolution and synthesis train before the run itself; see `recipes.stages`.

    Synthesis has the teacher, the student alone and then under its teacher, in thousands of images.
    A run's own length (`pretrain`: the teacher's, `distill`: the last) gives way to `max_steps`.

    Source: Lee and Park 2021 name the stages of super-resolution; the lengths are those of the code
    they build on, where they have one. DGL-GAN: abstract of its first version.
    """

    teacher_srresnet_steps: int = setting(1_000_000, "--teacher-srresnet-steps", least=1)
    student_srresnet_steps: int = setting(1_000_000, "--student-srresnet-steps", least=1)
    teacher_gan_steps: int = setting(200_000, "--teacher-gan-steps", least=1)
    teacher_content_steps: int = setting(2_500, "--teacher-content-steps", least=1)
    srresnet_lr: float = setting(1e-4, "--srresnet-lr", above=0.0, most=10.0)
    student_source: str | None = setting(None, "--student")
    teacher_kimg: float | None = setting(None, "--teacher-kimg", above=0.0)
    stage1_kimg: float = setting(0.0, "--stage1-kimg", least=0.0)
    stage2_kimg: float | None = setting(None, "--stage2-kimg", above=0.0)


@dataclass(frozen=True)
class TeacherSettings:
    """Where the teacher comes from: from scratch, or from a file or run, frozen or not."""

    network: NetworkSettings
    source: str | None = setting(None, "--teacher")
    freeze: bool = setting(False, "--freeze-teacher")


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run; written to `config.json` as it was resolved."""

    command: Literal["pretrain", "distill"]
    data: DataSettings
    teacher: TeacherSettings
    student: NetworkSettings | None
    discriminator: NetworkSettings
    adversarial: AdversarialSettings
    optimiser: OptimiserSettings
    schedule: ScheduleSettings
    perceptual: PerceptualSettings
    method: MethodSettings
    run: RunSettings
    selection: SelectionSettings = SelectionSettings()
    stages: StageSettings = StageSettings()

    def to_json(self) -> Json:
        """A JSON-able copy that `read(Settings, …)` turns back into an equal object."""
        plain: Json = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain


# What a continued run may change: its length, its conduct, never what a step computes.
FREE_ON_RESUME = {
    "run": {
        "workers",
        "checkpoint_every",
        "keep_checkpoints",
        "sample_every",
        "log_every",
        "tensorboard",
        "device",
        "compile",
    },
    "schedule": {"max_steps", "max_seconds"},
    "data": {"strict", "cache"},
    "perceptual": {"file"},  # it may have moved: its checksum must be the same
}


def read(kind: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Builds settings of `kind` from nested mappings and checks every value.

    Args:
        kind: a settings dataclass of this module, or a method's own options dataclass.
        values: field name to value; missing fields take their defaults.
        where: dotted prefix for messages, such as `method.options`.

    Raises:
        ConfigError: naming all unknown names and impossible values at once.
    """
    problems: list[str] = []
    result = _read(kind, values, where, problems)
    if problems:
        raise ConfigError("; ".join(problems))
    assert result is not None
    return result


def _read(kind: type[T], values: Mapping[str, Any], where: str, problems: list[str]) -> T | None:
    hints = typing.get_type_hints(kind)
    known = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]  # T is always one of our dataclasses
    for name in sorted(values.keys() - known.keys()):
        problems.append(f"{_join(where, name)}: no such setting{_meant(name, list(known))}")
    before = len(problems)
    chosen: Json = {}
    for name, item in known.items():
        if name in values:
            label = _label(item, where)
            chosen[name] = _value(hints[name], values[name], _join(where, name), label, problems)
            problems.extend(_limits(chosen[name], item.metadata, label))
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            problems.append(f"{_label(item, where)}: is needed")
    return kind(**chosen) if len(problems) == before else None


def _label(item: dataclasses.Field[Any], where: str) -> str:
    """The option that sets the field, or its dotted path where there is none."""
    path = _join(where, item.name)
    return item.metadata.get("flag") or NETWORK_FLAGS.get(path, path)


def _value(hint: Any, value: Any, where: str, label: str, problems: list[str]) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        options = [option for option in arguments if option is not type(None)]
        words = [option for option in options if typing.get_origin(option) is Literal]
        if isinstance(value, str) and words:
            return _value(words[0], value, where, label, problems)
        return _value(options[0], value, where, label, problems)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return _read(typing.cast(type, hint), value, where, problems)
    if origin is Literal:
        if value not in arguments:
            allowed = ", ".join(str(option) for option in arguments)
            said = value if isinstance(value, str) else shown(value)
            problems.append(f"{label} {said}: not one of {allowed}")
        return value
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_value(arguments[0], item, where, label, problems) for item in value)
    if origin is dict and isinstance(value, Mapping):
        return dict(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        # beyond a float's range Python raises; as infinity it is refused like any other
        return float(value) if abs(value) < 2**1023 else math.inf
    if (
        not isinstance(hint, type)
        or not isinstance(value, hint)
        or (isinstance(value, bool) and hint is not bool)
    ):
        wanted = getattr(hint, "__name__", str(hint))
        problems.append(f"{label} {shown(value)}: should be of type {wanted}")
    return value


def _limits(value: Any, limits: Mapping[str, Any], label: str) -> list[str]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return []
    said = shown(value)  # a whole number may be too long to print
    above, least, most = limits.get("above"), limits.get("least"), limits.get("most")
    if value != value or value in (float("inf"), float("-inf")):
        return [f"{label} {said}: must be a finite number"]
    if above is not None and not value > above:
        return [f"{label} {said}: must be greater than {above:g}"]
    if least is not None and value < least:
        return [f"{label} {said}: must be at least {least:g}"]
    if most is not None and value > most:
        return [f"{label} {said}: must be at most {most:g}"]
    return []


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _meant(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else f" (known: {', '.join(sorted(known))})"


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Json:
    """`base` with `changes` laid over it, mapping by mapping; neither argument is altered."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = (
            merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
        )
    return result


def read_toml(path: Path) -> Json:
    """The nested tables of a `--config` file.

    Raises:
        ConfigError: if the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"--config {path}: cannot be read ({error.strerror}); check the path"
        ) from error
    except (ValueError, RecursionError) as error:  # also for numbers too long, lists too deep
        raise ConfigError(
            f"--config {path}: is not valid TOML ({error}); mend that line"
        ) from error


def wrong_kinds(kind: type, values: Mapping[str, Any], where: str = "") -> list[str]:
    """What in nested `values`, which may be incomplete, is of another kind than the settings are.

    Unknown names and limits are left to `read`, which sees the settings whole.
    """
    problems: list[str] = []
    for name, hint in typing.get_type_hints(kind).items():
        options = [item for item in (typing.get_args(hint) or (hint,)) if isinstance(item, type)]
        inner = next((item for item in options if dataclasses.is_dataclass(item)), None)
        if name not in values:
            continue
        path = _join(where, name)
        if inner is None and typing.get_origin(hint) is not dict:
            _value(hint, values[name], path, path, problems)
        elif not isinstance(values[name], Mapping):
            problems.append(f"{path} = {shown(values[name])}: should be a table, as in [{path}]")
        elif inner is not None:
            problems += wrong_kinds(inner, values[name], path)
    return problems


def changed_on_resume(saved: Settings, wanted: Settings) -> list[str]:
    """The settings that a continued run may not change but would, as `name: old -> new`."""
    return _differences(saved.to_json(), wanted.to_json(), "")


def _differences(saved: Json, wanted: Json, where: str) -> list[str]:
    found: list[str] = []
    for name in sorted(saved.keys() | wanted.keys()):
        if name in FREE_ON_RESUME.get(where, set()):
            continue
        old, new = saved.get(name), wanted.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found.extend(_differences(old, new, _join(where, name)))
        elif old != new:
            found.append(f"{_join(where, name)}: {old} -> {new}")
    return found
