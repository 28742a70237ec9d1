"""What MODEL|RUN on a command line means: a model file, or the generator of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gancomp.data.formats import list_images
from gancomp.data.transforms import MOST_CHANNELS
from gancomp.engine.run import CONFIG, latest_run
from gancomp.errors import CheckpointError, ConfigError
from gancomp.export.biggan import is_biggan_folder
from gancomp.export.deployed import is_deployed, open_deployed
from gancomp.export.model import LoadedModel, open_model
from gancomp.networks.base import TappedNetwork
from gancomp.networks.synthesis import SynthesisGenerator
from gancomp.own_code import refuse_idle_code
from gancomp.paths import expanded
from gancomp.registry import DISCRIMINATORS
from gancomp.sizes import Size, as_size, in_pixels, shown_size, sides


@dataclass(frozen=True)
class Chosen:
    """A model and, if it lies in one, its run."""

    model: LoadedModel
    run: Path | None


def choose(model: Path | None, part: str | None = None, *, device: str | None = None) -> Chosen:
    """Opens the model file, the student (else teacher) of a run, or by default of the latest run.

    Args:
        model: a model file or a run.
        part: network of a file that holds several.
        device: where it is to run; given, it may also be an exported file, which runs in a
            runtime of its own, on the CPU.

    Raises:
        ConfigError: if there is neither a model nor a latest run, or an exported file's runtime
            is not installed.
        CheckpointError: if the file cannot be opened or the run has written no generator yet.
    """
    path = expanded(model) if model is not None else latest_run()
    if path is None:
        raise ConfigError("no model given and no latest run in runs/; give a model file or a run")
    file = generator_of(path) if path.is_dir() and not is_deployed(path) else path
    run = file.parent if (file.parent / CONFIG).exists() else None
    found = open_model(file, part) if device is None else open_any(file, part, device)
    refuse_idle_code()
    return Chosen(found, run)


def open_any(path: Path, part: str | None, device: str) -> LoadedModel:
    """The model in a file: weights for PyTorch, or an exported file for another runtime.

    Raises:
        CheckpointError: if it cannot be opened.
        ConfigError: if its runtime is not installed, or does not run on `device`.
    """
    if not is_deployed(path):
        return open_model(path, part)
    if part is not None:
        raise ConfigError(f"`part` {part}: {path} holds a single network; remove it")
    if device not in ("auto", "cpu"):
        raise ConfigError(
            f"`device` {device}: {path} is an exported file, run on the CPU; remove it"
        )
    return open_deployed(path)


def check_upscales(model: LoadedModel, named: str) -> None:
    """Refuses what does not enlarge RGB images.

    Raises:
        ConfigError: starting with `named`, what the user calls the model.
    """
    check_translates(model, named)
    if model.network.scale == 1:
        raise ConfigError(
            f"{named}: gives images of the size it takes; gancomp eval-fid scores such models, "
            "eval-sr those for super-resolution"
        )


def check_translates(model: LoadedModel, named: str) -> None:
    """Refuses what does not turn one image into another.

    Raises:
        ConfigError: starting with `named`, what the user calls the model.
    """
    network = model.network
    _refuse_discriminator(model, named)
    if isinstance(network, SynthesisGenerator):
        raise ConfigError(
            f"{named}: generates images from noise, not from images; gancomp generate runs it, "
            "eval-fid scores it"
        )
    settings = network.settings()
    channels = settings["in_channels"], settings["out_channels"]
    if network.scale > 1 and channels != (3, 3):
        raise ConfigError(
            f"{named}: takes {channels[0]} channels and gives {channels[1]}; images are enlarged "
            "as RGB, give a generator from 3 to 3 channels"
        )
    if max(channels) > MOST_CHANNELS:
        raise ConfigError(
            f"{named}: takes {channels[0]} channels and gives {channels[1]}; images have at most "
            f"{MOST_CHANNELS}"
        )


def check_takes(network: TappedNetwork, size: Size, named: str) -> None:
    """Refuses images of another size than the only one that an exported file takes.

    Raises:
        ConfigError: naming both.
    """
    fixed = network.fixed_size
    if fixed is not None and fixed != sides(size):
        raise ConfigError(
            f"`size` {shown_size(size)}: {named} takes images of {in_pixels(as_size(*fixed))} "
            "alone; export the model for that `size`, too"
        )


def check_generates(model: LoadedModel, named: str) -> SynthesisGenerator:
    """The network, if it generates images from noise.

    Raises:
        ConfigError: starting with `named`, what the user calls the model.
    """
    _refuse_discriminator(model, named)
    if not isinstance(model.network, SynthesisGenerator):
        raise ConfigError(f"{named}: is an image-to-image generator; gancomp translate runs it")
    return model.network


def _refuse_discriminator(model: LoadedModel, named: str) -> None:
    if model.network.arch in DISCRIMINATORS:
        raise ConfigError(f"{named}: is a discriminator; give a generator")


def generator_of(run: Path) -> Path:
    """The student's file of a run, or the teacher's where there is no student.

    A folder of BigGAN-PyTorch's is a model itself.

    Raises:
        CheckpointError: if the run has written neither.
    """
    for name in ("student.safetensors", "teacher.safetensors"):
        if (run / name).exists():
            return run / name
    if is_biggan_folder(run):
        return run
    if images := list_images(run):
        raise CheckpointError(
            f"{run}: holds images ({len(images)}) and no model; give a model file or a run "
            "(images are scored by eval-fid and eval with `fake`)"
        )
    raise CheckpointError(
        f"{run}: has neither student.safetensors nor teacher.safetensors; give a model file, or a "
        "run that has saved at least once"
    )


def teacher_file(source: str) -> Path:
    """The file of `--teacher FILE` or `--teacher RUN`; a BigGAN's folder is taken whole."""
    path = expanded(source)
    if path.is_dir() and not is_biggan_folder(path):
        return path / "teacher.safetensors"
    return path


def student_file(source: str) -> Path:
    """The generator file of `--student FILE` or `--student RUN`."""
    path = expanded(source)
    return path / "student.safetensors" if path.is_dir() else path
