"""`gancomp eval-fid`: FID of a model on its dataset, or of two sets of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gancomp import console
from gancomp.config import Json, Settings, read
from gancomp.data.images import list_images
from gancomp.data.layout import DIRECTIONS, cache_folder, locate, scan
from gancomp.data.loader import evaluation_batches, uint8_folder
from gancomp.data.splits import DatasetFiles, Half, Split, other_half
from gancomp.data.transforms import to_uint8
from gancomp.engine.device import choose_device
from gancomp.engine.run import read_config
from gancomp.errors import ConfigError, DataError, RunError
from gancomp.metrics.features import (
    WEIGHTS_HASH_PREFIX,
    InceptionFeatures,
    inception_features,
    load_inception,
)
from gancomp.metrics.fid import (
    Statistics,
    bias_warning,
    cached_statistics,
    fid_from_features,
    load_statistics,
    save_statistics,
    statistics_of,
)
from gancomp.networks.base import TappedNetwork
from gancomp.networks.fast import accelerate
from gancomp.networks.inference import run_generator
from gancomp.recipes.models import Chosen, check_translates, choose
from gancomp.recipes.scores import remember
from gancomp.recipes.translate import check_size

Say = Callable[[str], None]
Pixels = NDArray[np.uint8]
TOLD_EVERY = 100  # images between two lines of progress


@dataclass(frozen=True)
class FidRequest:
    """What is to be scored against what; see `gancomp eval-fid --help`."""

    model: Path | None = None
    dataset: str | None = None
    direction: str | None = None
    real: tuple[Path, ...] = ()
    fake: Path | None = None
    real_split: str = "auto"
    size: int | None = None
    batch_size: int = 50
    save_stats: Path | None = None
    strict: bool = False
    device: str = "auto"
    part: str | None = None


@dataclass(frozen=True)
class Reals:
    """Real images: files (of which a half may count), or statistics computed before."""

    label: list[str]
    files: tuple[Path, ...] = ()
    half: Half | None = None
    statistics: Statistics | None = None


def eval_fid(request: FidRequest, say: Say) -> Json:
    """The FID and its protocol, as `eval-fid --json` prints it; kept in the run's `eval.json`.

    Raises:
        ConfigError: for options that do not go together.
        DataError, CheckpointError, WeightsError: for images, model or Inception weights.
    """
    check_request(request)
    chosen, files = None, None
    if request.fake is None:
        chosen = choose(request.model, request.part)
        files = dataset_of(chosen, request, say)
    reals = real_images(request, files)
    fake_label, fakes = fake_images(request, chosen, files, say)
    inception = load_inception(announce=say)
    inception = inception.to(choose_device(request.device))
    features = features_of(fakes, inception, request, progress("generated", say))
    statistics = real_statistics(reals, inception, request, say)
    if not inception.weights_id.startswith(WEIGHTS_HASH_PREFIX):
        say(
            f"warning: the Inception weights (sha256 {inception.weights_id[:12]}) are not the file "
            "that pytorch-fid publishes; compare with other scores only if the network is the same"
        )
    if warning := bias_warning(min(len(features), statistics.num_images or len(features))):
        say(f"warning: {warning}")
    score = {
        "fid": fid_from_features(features, statistics),
        "n_real": statistics.num_images,
        "n_fake": len(features),
        "real": reals.label,
        "fake": fake_label,
        "weights": inception.weights_id,
        "protocol": describe_protocol(request, chosen, files),
    }
    if chosen is not None and chosen.run is not None:
        try:
            remember(chosen.run, score)
        except RunError as error:  # a run of somebody else's may be scored, too
            say(f"warning: the score is not kept: {error}")
    return score


def check_request(request: FidRequest) -> None:
    """Refuses contradictory options.

    Raises:
        ConfigError: naming them.
    """
    if request.fake is not None and request.model is not None:
        raise ConfigError("--fake: cannot be combined with a model; give one of them")
    if request.fake is not None and not request.real:
        raise ConfigError("--fake: needs --real, the folder or STATS.npz to compare it with")
    of_model = request.dataset, request.direction, request.size, request.part
    if request.fake is not None and any(value is not None for value in of_model):
        raise ConfigError(
            "--dataset, --direction, --size, --part: have no effect with --fake; leave them away"
        )
    if request.direction not in (None, *DIRECTIONS):
        raise ConfigError(f"--direction {request.direction}: use {' or '.join(DIRECTIONS)}")
    if request.real_split not in ("auto", "all", "test"):
        raise ConfigError(f"--real-split {request.real_split}: not one of all, test")
    if request.real and request.real_split != "auto":
        raise ConfigError("--real-split: has no effect with --real; leave one of them away")
    if request.batch_size < 1:
        raise ConfigError(f"--batch-size {request.batch_size}: must be at least 1")
    check_size(request.size)
    statistics = [path for path in request.real if path.suffix == ".npz"]
    if statistics and len(request.real) > 1:
        raise ConfigError(
            f"--real {statistics[0]}: statistics stand alone; give one .npz or folders"
        )
    choose_device(request.device)
    if request.save_stats is not None:
        check_save_stats(request.save_stats, statistics)


def check_save_stats(path: Path, statistics: list[Path]) -> None:
    """Refuses, before anything is computed, statistics that could not be written or found again.

    Raises:
        ConfigError: naming the way out.
    """
    if statistics:
        raise ConfigError(
            f"--save-stats {path}: --real {statistics[0]} holds statistics already; leave it away"
        )
    if path.suffix != ".npz":
        raise ConfigError(f"--save-stats {path}: must end in .npz, as --real wants it")
    if not path.parent.is_dir() or path.is_dir():
        raise ConfigError(f"--save-stats {path}: give a file in an existing folder")


def dataset_of(chosen: Chosen, request: FidRequest, say: Say) -> DatasetFiles:
    """The dataset the model is scored on: as asked for, its run's, or the one its header names.

    Raises:
        ConfigError: if nothing names a dataset, or the model is no generator.
        DataError: if it cannot be found or has no test images.
    """
    header = chosen.model.header
    check_translates(chosen.model, str(chosen.model.path))
    if chosen.model.network.scale > 1:
        raise ConfigError(
            f"{chosen.model.path}: enlarges images; gancomp eval-sr scores it, against originals"
        )
    task, name, direction = header["task"], request.dataset, direction_of(chosen, request)
    part = request.part or ""
    if part.endswith("_B") and not (request.direction or header["direction"]):
        say(
            f"warning: --part {part}: by its name it translates B to A, but is scored {direction}; "
            "if so, give --direction BtoA, else --direction AtoB"
        )
    if name is None and chosen.run is not None:
        name = _run_dataset(chosen.run)
    name = name or header["dataset"]
    if name is None:
        raise ConfigError(f"{chosen.model.path}: does not say its dataset; give --dataset")
    files = scan(locate(name, say), task=task, direction=direction, strict=request.strict, warn=say)
    if files.test is None:
        raise DataError(
            f"{files.root}: has no test images (testA/, test/ or val/) to translate; "
            "add some, or score a folder with --fake"
        )
    return files


def direction_of(chosen: Chosen, request: FidRequest) -> str:
    """What the model translates: as typed, else as its header says, else A to B."""
    direction: str = request.direction or chosen.model.header["direction"] or DIRECTIONS[0]
    return direction


def _run_dataset(run: Path) -> str:
    config = read_config(run)
    root = Path(config["dataset"]["root"])
    return str(root) if root.is_dir() else read(Settings, config["settings"]).data.dataset


def real_images(request: FidRequest, files: DatasetFiles | None) -> Reals:
    """The reals of `--real`, or by the protocol: train and test targets unpaired, test paired.

    Source: GAN-Compression's statistics, which OMGD and DCD reuse, hold train and test images for
    unpaired tasks and test images for paired ones.
    """
    if request.real and request.real[0].suffix == ".npz":
        return Reals([str(request.real[0])], statistics=load_statistics(request.real[0]))
    if request.real:
        paths = tuple(path for folder in request.real for path in _listing("--real", folder))
        return Reals([str(folder) for folder in request.real], files=paths)
    assert files is not None
    assert files.test is not None
    split = request.real_split
    if split == "auto":
        split = "all" if files.task == "unpaired" else "test"
    paths = files.test.target if split == "test" else files.train.target + files.test.target
    half = files.test.side_by_side
    half = other_half(half) if half else None
    return Reals(
        [f"{files.root} ({'train+test' if split == 'all' else 'test'} targets)"], paths, half
    )


def _listing(option: str, folder: Path) -> tuple[Path, ...]:
    folder = folder.expanduser()
    if not folder.is_dir():
        raise DataError(f"{option} {folder}: no such folder; give a folder of images")
    paths = list_images(folder)
    if not paths:
        raise DataError(f"{option} {folder}: holds no images; check the path")
    return paths


def fake_images(
    request: FidRequest, chosen: Chosen | None, files: DatasetFiles | None, say: Say
) -> tuple[str, Iterator[Pixels]]:
    """A name for, and the pixels of, the generated images: every test image, or a folder's."""
    if request.fake is not None:
        paths = _listing("--fake", request.fake)
        return str(request.fake), uint8_folder(paths, warn=say, strict=request.strict)
    assert chosen is not None
    assert files is not None
    assert files.test is not None
    network = chosen.model.network.to(choose_device(request.device))
    size = request.size or chosen.model.header["input"]["size"][0]
    fakes = translated(network, files.test, size=size, say=say, strict=request.strict)
    return str(chosen.model.path), fakes


def translated(
    network: TappedNetwork, split: Split, *, size: int, say: Say, strict: bool = False
) -> Iterator[Pixels]:
    """The outputs for all sources of `split`: resized to `size`, truncated to 8 bits."""
    fast = accelerate(network)
    for _, sources in evaluation_batches(split, size=size, batch_size=1, warn=say, strict=strict):
        yield from to_uint8(run_generator(fast, sources))


def features_of(
    images: Iterator[Pixels],
    inception: InceptionFeatures,
    request: FidRequest,
    progress: Callable[[int], None] | None = None,
) -> Any:
    """Pool3 features of all images."""
    return inception_features(
        images,
        inception,
        batch_size=request.batch_size,
        device=choose_device(request.device),
        progress=progress,
    )


def progress(kind: str, say: Say) -> Callable[[int], None]:
    """Tells `say` about every hundred images."""
    return console.milestones(
        say, TOLD_EVERY, lambda done: f"features of {kind} images: {done} done"
    )


def real_statistics(
    reals: Reals, inception: InceptionFeatures, request: FidRequest, say: Say
) -> Statistics:
    """Statistics of the reals, remembered by the content of the files."""
    if reals.statistics is not None:
        return reals.statistics

    def compute() -> Statistics:
        images = uint8_folder(reals.files, warn=say, strict=request.strict, half=reals.half)
        return statistics_of(features_of(images, inception, request, progress("real", say)))

    statistics = cached_statistics(
        reals.files,
        compute,
        cache_folder().parent / "fid",
        weights_id=inception.weights_id,
        protocol=f"native size, half={reals.half}",
    )
    if request.save_stats is not None:
        save_statistics(request.save_stats, statistics)
    return statistics


def describe_protocol(
    request: FidRequest, chosen: Chosen | None, files: DatasetFiles | None
) -> Json:
    """Everything that a reader needs to repeat the score, beside the two sets themselves."""
    device = choose_device(request.device)
    protocol: Json = {
        "features": "pytorch-fid InceptionV3 pool3 (2048), bilinear resize to 299",
        "precision": number_format(device, generates=chosen is not None),
        "device": device.type,
        "reals": "native size",
    }
    if chosen is None or files is None:
        return protocol | {"fakes": "files as stored"}
    size = request.size or chosen.model.header["input"]["size"][0]
    return protocol | {
        "fakes": f"all test sources, bicubic to {size}x{size}, output truncated to 8 bits",
        "task": files.task,
        "direction": direction_of(chosen, request),
        "step": chosen.model.header["step"],
        "selection": chosen.model.header.get("selection", "last"),
    }


def number_format(device: torch.device, *, generates: bool) -> str:
    """What Inception computes in and, where PyTorch allows it to differ, the generator."""
    tf32 = generates and device.type == "cuda" and torch.backends.cudnn.allow_tf32
    return "float32 features" + ("; the generator may use TF32" if tf32 else "")


def show_fid(score: Json) -> None:
    """Prints the score with what it was computed from."""
    rows = [
        ["FID", f"{score['fid']:.4f}"],
        ["generated images", f"{score['n_fake']} ({score['fake']})"],
        ["real images", f"{score['n_real']} ({', '.join(score['real'])})"],
    ]
    rows += [[name, str(value)] for name, value in score["protocol"].items()]
    console.print_table(["", "value"], rows)
