"""`gancomp eval-fid`: FID of a model on its dataset, or of two sets of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path

import torch

from gancomp import console
from gancomp.data.layout import DIRECTIONS, locate, scan
from gancomp.data.loader import evaluation_batches, uint8_folder
from gancomp.data.pixels import PixelFormat, as_rgb
from gancomp.data.splits import DatasetFiles, Split, other_half
from gancomp.data.transforms import to_uint8
from gancomp.engine.device import choose_device
from gancomp.engine.speed import keep_freed_memory
from gancomp.errors import ConfigError, DataError, RunError
from gancomp.metrics.features import (
    WEIGHTS_HASH_PREFIX,
    Features,
    InceptionFeatures,
    inception_features,
    load_inception,
)
from gancomp.metrics.fid import (
    Statistics,
    bias_warning,
    fid_from_features,
    fid_from_statistics,
    statistics_of,
    statistics_of_parts,
)
from gancomp.metrics.statistics_files import (
    Found,
    cached_statistics,
    load_statistics,
    save_statistics,
)
from gancomp.networks.accelerate import accelerate
from gancomp.networks.base import TappedNetwork
from gancomp.networks.inference import run_generator
from gancomp.networks.synthesis import SynthesisGenerator
from gancomp.paths import cache_folder
from gancomp.recipes.eval_synthesis import synthesis_contest
from gancomp.recipes.models import Chosen, check_translates, choose
from gancomp.recipes.pixels import opened_format, pixels_in, refuse_odd_channels
from gancomp.recipes.request import (
    Contest,
    FidRequest,
    Pixels,
    Reals,
    Say,
    check_request,
    dataset_name,
    folder_format,
    given_reals,
    holds_statistics,
    listing,
)
from gancomp.recipes.scores import remember
from gancomp.settings import Json
from gancomp.sizes import Size, as_size, in_pixels

GRAY = ", gray repeated to 3 channels"
TOLD_EVERY = 100  # images between two lines of progress
MOST_TOLD = 50  # lines of progress, about
AT_ONCE = 4096  # images whose features are in memory together; more than features are enough


def eval_fid(request: FidRequest, say: Say) -> Json:
    """The FID and its protocol, as `eval-fid --json` prints it; kept in the run's `eval.json`.

    Raises:
        ConfigError: for options that do not go together.
        DataError, CheckpointError, WeightsError: for images, model or Inception weights.
    """
    check_request(request)
    device = choose_device(request.device)
    if device.type == "cpu":  # maps of the same sizes, batch after batch
        keep_freed_memory()
    chosen = choose(request.model, request.part) if request.fake is None else None
    contest = make_contest(request, chosen, say)
    inception = load_inception(announce=say)
    inception = inception.to(device)
    told = progress("generated", say, contest.num_fakes)
    given = contest.fakes
    fakes = given if isinstance(given, Statistics) else gathered(given, inception, request, told)
    found = real_statistics(contest.reals, inception, request, say)
    statistics, skipped = (
        found.statistics,
        {*contest.skipped, *contest.reals.skipped, *found.skipped},
    )
    if not inception.weights_id.startswith(WEIGHTS_HASH_PREFIX):
        say(
            f"warning: the Inception weights (sha256 {inception.weights_id[:12]}) are not the file "
            "that pytorch-fid publishes; compare with other scores only if the network is the same"
        )
    num_fakes = fakes.num_images if isinstance(fakes, Statistics) else len(fakes)
    known = [count for count in (num_fakes, statistics.num_images) if count is not None]
    if known and (warning := bias_warning(min(known))):
        say(f"warning: {warning}")
    score = {
        "fid": distance(fakes, statistics),
        "n_real": statistics.num_images,
        "n_fake": num_fakes,
        "skipped": len(skipped),
        "real": contest.reals.label,
        "fake": contest.fake_label,
        "weights": inception.weights_id,
        "protocol": describe_protocol(request, contest),
    }
    if chosen is not None and chosen.run is not None:
        try:
            remember(chosen.run, score, say)
        except RunError as error:  # a run of somebody else's may be scored, too
            say(f"warning: the score is not kept: {error}")
    return score


def make_contest(request: FidRequest, chosen: Chosen | None, say: Say) -> Contest:
    """What is compared: a folder, what a model makes of the test images, or of noise.

    Raises:
        ConfigError: for options that do not fit the model.
        DataError: if there are no images.
    """
    if chosen is None:
        assert request.fake is not None
        reals = given_reals(request, say)
        assert reals is not None
        if reals.files:
            reals = replace(reals, pixels=folder_format(reals.files, request.out_range, say))
        skipped: list[Path] = []
        protocol = {"reals": f"native size{as_8_bits(reals.pixels)}"}
        if holds_statistics(request.fake):
            computed = load_statistics(request.fake)
            if request.out_range is not None and not reals.files:
                raise ConfigError("--out-range: has no effect on statistics alone; remove it")
            protocol["fakes"] = f"statistics ({computed.protocol})"
            return Contest(str(request.fake), computed, 0, reals, protocol, skipped)
        paths = listing("--fake", request.fake, say, recursive=request.recursive)
        found = folder_format(paths, request.out_range, say)
        fakes = uint8_folder(paths, warn=say, strict=request.strict, skipped=skipped, pixels=found)
        protocol["fakes"] = f"files as stored{as_8_bits(found)}"
        return Contest(str(request.fake), fakes, len(paths), reals, protocol, skipped)
    if isinstance(chosen.model.network, SynthesisGenerator):
        return synthesis_contest(request, chosen, say)
    return translation_contest(request, chosen, say)


def translation_contest(request: FidRequest, chosen: Chosen, say: Say) -> Contest:
    """What the model makes of every test image, against targets."""
    files = dataset_of(chosen, request, say)
    assert files.test is not None
    reals = given_reals(request, say) or real_images(request, files)
    network = chosen.model.network.to(choose_device(request.device))
    source, target = formats(request, chosen, files.test, reals)
    reals = replace(reals, pixels=target)
    size = request.size or as_size(*chosen.model.header["input"]["size"])
    skipped = list(files.skipped)
    fakes = translated(
        network,
        files.test,
        size=size,
        say=say,
        strict=request.strict,
        skipped=skipped,
        pixels=source,
    )
    gray = GRAY if network.settings()["out_channels"] == 1 else ""
    resized = f"bicubic to {in_pixels(size)}"
    protocol = {
        "reals": f"native size{as_8_bits(target)}",
        "fakes": f"all test sources, {resized}, output truncated to 8 bits{gray}",
        "task": files.task,
        "direction": direction_of(chosen, request),
        "step": chosen.model.header["step"],
        "selection": chosen.model.header.get("selection", "last"),
    }
    num_fakes = len(files.test.source)
    return Contest(str(chosen.model.path), fakes, num_fakes, reals, protocol, skipped)


def formats(
    request: FidRequest, chosen: Chosen, test: Split, reals: Reals
) -> tuple[PixelFormat | None, PixelFormat | None]:
    """How the sources and the reals are read, None for plain 8-bit RGB.

    Raises:
        ConfigError: if the model's images are neither RGB nor gray.
        DataError: if the first image cannot be read.
    """
    settings = chosen.model.network.settings()
    channels = settings["in_channels"], settings["out_channels"]
    refuse_odd_channels(str(chosen.model.path), channels[1])
    stated = pixels_in(chosen.model.header, chosen.model.path)
    source = opened_format(
        stated["source"], channels[0], test.source[0], request.in_range, "--in-range"
    )
    if not reals.files:
        if request.out_range is not None:
            raise ConfigError("--out-range: has no effect with statistics as --real; remove it")
        return source, None
    target = opened_format(
        stated["target"], channels[1], reals.files[0], request.out_range, "--out-range"
    )
    return source, target


def as_8_bits(pixels: PixelFormat | None) -> str:
    """How images that are no plain 8-bit RGB become what Inception looks at."""
    if pixels is None:
        return ""
    return f"; {pixels} in 256 levels{GRAY if pixels.channels == 1 else ''}"


def dataset_of(chosen: Chosen, request: FidRequest, say: Say) -> DatasetFiles:
    """The dataset the model is scored on: as asked for, its run's, or the one its header names.

    Raises:
        ConfigError: if nothing names a dataset, or the model is no generator.
        DataError: if it cannot be found or has no test images.
    """
    header = chosen.model.header
    check_translates(chosen.model, str(chosen.model.path))
    if unused := request.of_synthesis():
        raise ConfigError(
            f"{', '.join(unused)}: no effect on {chosen.model.path}, which translates every "
            "test image; remove it"
        )
    if chosen.model.network.scale > 1:
        raise ConfigError(
            f"{chosen.model.path}: enlarges images; gancomp eval-sr scores it, against originals"
        )
    task, direction = header["task"], direction_of(chosen, request)
    part = request.part or ""
    if part.endswith("_B") and not (request.direction or header["direction"]):
        say(
            f"warning: --part {part}: by its name it translates B to A, but is scored {direction}; "
            "if so, give --direction BtoA, else --direction AtoB"
        )
    root = locate(dataset_name(chosen, request), say)
    files = scan(root, task=task, direction=direction, strict=request.strict, warn=say)
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


def real_images(request: FidRequest, files: DatasetFiles) -> Reals:
    """The reals by the protocol: train and test targets unpaired, test targets paired.

    Source: GAN-Compression's statistics, which OMGD and DCD reuse, hold train and test images for
    unpaired tasks and test images for paired ones.
    """
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


def translated(
    network: TappedNetwork,
    split: Split,
    *,
    size: Size,
    say: Say,
    strict: bool = False,
    skipped: list[Path] | None = None,
    pixels: PixelFormat | None = None,
) -> Iterator[Pixels]:
    """The outputs for all sources of `split`: resized to `size`, truncated to 8 bits.

    Gray is repeated: `(H, W, 3)` each.
    """
    fast = accelerate(network)
    batches = evaluation_batches(
        split, size=size, batch_size=1, warn=say, strict=strict, skipped=skipped, pixels=pixels
    )
    for _, sources in batches:
        yield from as_rgb(to_uint8(run_generator(fast, sources)))


def features_of(
    images: Iterator[Pixels],
    inception: InceptionFeatures,
    request: FidRequest,
    progress: Callable[[int], None] | None = None,
) -> Features:
    """Pool3 features of all images."""
    return inception_features(
        images,
        inception,
        batch_size=request.batch_size,
        device=choose_device(request.device),
        progress=progress,
    )


def gathered(
    images: Iterator[Pixels],
    inception: InceptionFeatures,
    request: FidRequest,
    progress: Callable[[int], None],
) -> Features | Statistics:
    """Features of all images, or, where these would take too much memory, their statistics."""
    size = request.batch_size * -(-AT_ONCE // request.batch_size)

    def parts() -> Iterator[Features]:
        done = 0
        while True:
            told = partial(_tell_after, progress, done)
            part = features_of(islice(images, size), inception, request, told)
            yield part
            done += len(part)
            if len(part) < size:
                return

    several = parts()
    first = next(several)
    return first if len(first) < size else statistics_of_parts(chain([first], several))


def _tell_after(progress: Callable[[int], None], before: int, done: int) -> None:
    progress(before + done)


def distance(fakes: Features | Statistics, reals: Statistics) -> float:
    """The FID, the faster way where there are features."""
    if isinstance(fakes, Statistics):
        return fid_from_statistics(fakes, reals)
    return fid_from_features(fakes, reals)


def progress(kind: str, say: Say, count: int = 0) -> Callable[[int], None]:
    """Tells `say` about every hundred images, or fewer times if there are very many."""
    every = max(TOLD_EVERY, count // MOST_TOLD // TOLD_EVERY * TOLD_EVERY)
    return console.milestones(say, every, lambda done: f"features of {kind} images: {done} done")


def real_statistics(
    reals: Reals, inception: InceptionFeatures, request: FidRequest, say: Say
) -> Found:
    """Statistics of the reals, remembered by the content of the files, and which were left out."""
    if reals.statistics is not None:
        return Found(reals.statistics)

    def compute() -> Found:
        skipped: list[Path] = []
        images = reals.images(say, strict=request.strict, skipped=skipped)
        count = len(reals.files) * (2 if reals.mirrored else 1)
        found = gathered(images, inception, request, progress("real", say, count))
        statistics = found if isinstance(found, Statistics) else statistics_of(found)
        return Found(statistics, tuple(skipped))

    cache = cache_folder()
    if cache is None:
        say("no home folder: the statistics of the reals are not kept; set XDG_CACHE_HOME for that")
        found = compute()
    else:
        found = cached_statistics(
            reals.files,
            compute,
            cache / "fid",
            unreadable=lambda files: reals.unreadable(files, say, strict=request.strict),
            weights_id=inception.weights_id,
            protocol=reals.preparation(),
        )
    if request.save_stats is not None:
        save_statistics(request.save_stats, found.statistics)
    return found


def describe_protocol(request: FidRequest, contest: Contest) -> Json:
    """Everything that a reader needs to repeat the score, beside the two sets themselves."""
    device = choose_device(request.device)
    return {
        "features": "pytorch-fid InceptionV3 pool3 (2048), bilinear resize to 299",
        "precision": number_format(device, generates=request.fake is None),
        "device": device.type,
    } | contest.protocol


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
        ["unreadable files left out", str(score["skipped"])],
    ]
    rows += [[name, str(value)] for name, value in score["protocol"].items()]
    console.print_table(["", "value"], rows)
