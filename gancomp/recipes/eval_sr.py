"""`gancomp eval-sr`: PSNR and SSIM of a super-resolution model, beside bicubic interpolation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import isfinite
from pathlib import Path

import torch

from gancomp import console
from gancomp.data.check import GRAY_MODES
from gancomp.data.degrade import Pixels, check_scale, downscale, upscale_bicubic
from gancomp.data.images import file_mode
from gancomp.data.layout import locate, scan
from gancomp.data.splits import DatasetFiles
from gancomp.data.super_resolution import load_high_resolution
from gancomp.engine.device import choose_device
from gancomp.engine.sharing import first_rank_first, one_by_one, working_together
from gancomp.errors import ConfigError, DataError
from gancomp.export.deployed import runtime_of
from gancomp.inference.enlarge import enlarge
from gancomp.inference.memory import is_lack_of_memory
from gancomp.inference.models import Chosen, check_upscales, choose
from gancomp.metrics.image_quality import Quality, image_quality
from gancomp.ranks import current
from gancomp.scoring.scores import keep
from gancomp.settings import Json

Say = Callable[[str], None]
Enlarge = Callable[[Pixels], Pixels]
TOLD_EVERY = 10  # images between two lines of progress
METRICS = tuple(Quality.__dataclass_fields__)


@dataclass(frozen=True)
class SrRequest:
    """What is to be scored on what; see `gancomp eval-sr --help`."""

    dataset: str
    model: Path | None = None
    scale: int | None = None
    strict: bool = False
    device: str = "auto"
    part: str | None = None


@dataclass(frozen=True)
class ImageScore:
    """One original: how near the model and bicubic interpolation come to it."""

    path: Path
    grayscale: bool
    model: Quality
    bicubic: Quality


def eval_sr(request: SrRequest, say: Say) -> Json:
    """The scores and their protocol, as `eval-sr --json` prints them; kept in the run's eval.json.

    Raises:
        ConfigError: for options that do not fit the model.
        DataError, CheckpointError: for images or model.
    """
    with working_together(say) as say_alone:
        return _eval_sr(request, say_alone)


def _eval_sr(request: SrRequest, say: Say) -> Json:
    if request.scale is not None:
        check_scale(request.scale)
    device = choose_device(request.device)
    with first_rank_first():
        chosen = choose(request.model, request.part, device=request.device)
        check_upscales(chosen.model, str(chosen.model.path))
        network = chosen.model.network.to(device)
        if request.scale not in (None, network.scale):
            raise ConfigError(
                f"`scale` {request.scale}: {chosen.model.path} enlarges by {network.scale}; remove "
                "the option, or give a model for that scale"
            )
        files = benchmark(request.dataset, strict=request.strict, say=say)
    scores = score_images(
        originals(files),
        network.scale,
        lambda image: enlarge(network, image),
        say=say,
        strict=request.strict,
    )
    document = describe(scores, files, network.scale) | {"model": str(chosen.model.path)}
    document["protocol"] |= about_model(chosen, device.type)
    current().from_lead(partial(keep, chosen.run, document, say))
    return document


def benchmark(dataset: str, *, strict: bool, say: Say) -> DatasetFiles:
    """The originals to score on: a folder of images, or one with `test/` or `valid/` of them."""
    return scan(locate(dataset, say), task="super-resolution", strict=strict, say=say)


def originals(files: DatasetFiles) -> tuple[Path, ...]:
    """The test images, or all where nothing else is there."""
    return (files.test or files.train).target


def score_images(
    paths: Sequence[Path], scale: int, enlarge: Enlarge, *, say: Say, strict: bool = False
) -> list[ImageScore]:
    """Each original against what `enlarge` and bicubic make of its small version.

    Originals are cut to multiples of `scale`; the small version is made by `data.degrade`.

    Args:
        paths: of the originals.
        scale: 2 or 4.
        enlarge: from `(H, W, 3)` to `(scale * H, scale * W, 3)`.
        say: is told about each unusable file, which is left out, and how far it is.
        strict: raise at an unusable file instead.

    Raises:
        DataError: at an unusable file if `strict`; if not one is usable.
    """
    progress = console.milestones(
        say, TOLD_EVERY, lambda done: f"scored {done} of {len(paths)} images"
    )

    def score(path: Path, say: Say) -> ImageScore | str:
        try:
            return _score(path, scale, enlarge)
        except DataError as error:
            if strict:
                raise
            say(f"{error}; skipped")
            return str(error)

    scores: list[ImageScore] = []
    errors: list[str] = []
    for made in one_by_one(paths, score, say):
        if isinstance(made, str):
            errors.append(made)
        else:
            scores.append(made)
        progress(len(scores))
    if not scores:
        raise DataError(f"none of {len(paths)} images can be scored; the first: {errors[0]}")
    return scores


def _score(path: Path, scale: int, enlarge: Enlarge) -> ImageScore:
    original = load_high_resolution(path, scale)
    grayscale = file_mode(path).startswith(GRAY_MODES)
    small = downscale(original, scale)

    def quality(enlarge: Enlarge) -> Quality:
        return image_quality(enlarge(small), original, border=scale, grayscale=grayscale)

    try:
        # bicubic first: it costs nothing, and refuses what is too small to be scored
        bicubic = quality(lambda image: upscale_bicubic(image, scale))
        return ImageScore(path, grayscale, quality(enlarge), bicubic)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except (RuntimeError, MemoryError) as error:
        if not is_lack_of_memory(error):
            raise
        height, width = original.shape[:2]
        raise DataError(
            f"{path}: {width}x{height} pixels are too many for the memory; use a smaller image"
        ) from error


def describe(scores: Sequence[ImageScore], files: DatasetFiles, scale: int) -> Json:
    """The document of `eval-sr --json`, without what concerns the model.

    A PSNR of two equal images is infinite, which JSON cannot hold: null, and not in the mean.
    """
    return {
        "dataset": files.name,
        "scale": scale,
        "skipped": len(files.skipped) + len(originals(files)) - len(scores),
        "protocol": {
            "primary": f"psnr_y, ssim_y: luminance (BT.601, 16..235; grayscale originals as they "
            f"are) of rounded 8-bit images, {scale} pixels cut off at each side",
            "secondary": "psnr_rgb, ssim_rgb: rounded 8-bit RGB, whole",
            "small_images": f"MATLAB-style antialiased bicubic 1/{scale} of the originals, cut to "
            f"multiples of {scale}",
            "bicubic": "MATLAB-style bicubic enlargement",
            "ssim": "Gaussian 11x11, sigma 1.5, K 0.01 and 0.03, no sample covariance",
            "border": scale,
            "num_images": len(scores),
            "num_grayscale": sum(score.grayscale for score in scores),
            "files": files.fingerprint()["sha256"],
        },
        "mean": _mean([score.model for score in scores]),
        "bicubic": _mean([score.bicubic for score in scores]),
        "images": [
            {
                "file": score.path.name,
                "grayscale": score.grayscale,
                **_finite(asdict(score.model)),
                "bicubic": _finite(asdict(score.bicubic)),
            }
            for score in scores
        ],
    }


def _mean(qualities: Sequence[Quality]) -> Json:
    means: Json = {}
    for metric in METRICS:
        values = [value for item in qualities if isfinite(value := getattr(item, metric))]
        means[metric] = sum(values) / len(values) if values else None
    return means


def _finite(values: Json) -> Json:
    return {name: value if isfinite(value) else None for name, value in values.items()}


def about_model(chosen: Chosen, device: str) -> Json:
    """What of the model's history and the machine belongs to the protocol."""
    header = chosen.model.header
    tf32 = device == "cuda" and torch.backends.cudnn.allow_tf32
    return {
        "device": device,
        "precision": "float32" + ("; the generator may use TF32" if tf32 else ""),
        "step": header["step"],
        "selection": header.get("selection", "last"),
    } | runtime_of(chosen.model.network)


def show_quality(score: Json) -> None:
    """Prints a row per image and the means by the primary protocol, then the secondary's means."""
    rows = [
        [image["file"] + (" (gray)" if image["grayscale"] else ""), *_cells(image, "_y")]
        for image in score["images"]
    ]
    rows.append(["mean", *_cells(score, "_y")])
    columns = ["PSNR Y", "bicubic", "SSIM Y", "bicubic"]
    console.print_table([f"{score['dataset']} x{score['scale']}", *columns], rows)
    psnr, psnr_bicubic, ssim, ssim_bicubic = _cells(score, "_rgb")
    console.stdout.print(
        f"RGB, whole: PSNR {psnr} (bicubic {psnr_bicubic}), SSIM {ssim} (bicubic {ssim_bicubic})"
    )
    for name in ("primary", "small_images"):
        console.stdout.print(f"{name}: {score['protocol'][name]}")


def _cells(values: Json, kind: str) -> list[str]:
    """PSNR and SSIM, each with bicubic's behind it; of an image or of the means."""
    of_model, of_bicubic = values.get("mean", values), values["bicubic"]
    cells = []
    for metric, digits in (("psnr", 2), ("ssim", 4)):
        for item in (of_model, of_bicubic):
            value = item[metric + kind]
            cells.append("equal" if value is None else f"{value:.{digits}f}")
    return cells
