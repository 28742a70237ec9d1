"""`gancomp eval-fid`: FID of a model on its dataset, or of two sets of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from gancomp import console
from gancomp.config import read
from gancomp.data.layout import DIRECTIONS, locate, scan
from gancomp.data.loader import evaluation_batches, uint8_folder
from gancomp.data.pixels import PixelFormat, as_rgb
from gancomp.data.splits import DatasetFiles, Split, other_half
from gancomp.data.transforms import to_uint8
from gancomp.engine.device import choose_device
from gancomp.engine.speed import keep_freed_memory
from gancomp.errors import ConfigError, DataError, RunError
from gancomp.metrics.base import Metric
from gancomp.metrics.features import WEIGHTS_HASH_PREFIX, load_inception
from gancomp.metrics.fid import Statistics
from gancomp.metrics.statistics_files import load_statistics
from gancomp.networks.accelerate import accelerate
from gancomp.networks.base import TappedNetwork
from gancomp.networks.inference import run_generator
from gancomp.networks.synthesis import SynthesisGenerator
from gancomp.recipes.eval_synthesis import synthesis_contest
from gancomp.recipes.measuring import fake_set, progress, real_set
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
from gancomp.registry import METRICS, options_type, resolve
from gancomp.settings import Json
from gancomp.sizes import Size, as_size, in_pixels

GRAY = ", gray repeated to 3 channels"


def eval_fid(request: FidRequest, say: Say) -> Json:
    """The FID and its protocol, as `eval-fid --json` prints it; kept in the run's `eval.json`.

    Raises:
        ConfigError: for options that do not go together.
        DataError, CheckpointError, WeightsError: for images, model or Inception weights.
    """
    compared = compare(request, make_metrics(["fid"], {}), say)
    score = {**compared.numbers, **compared.protocol}
    compared.keep(score, say)
    return score


@dataclass(frozen=True)
class Compared:
    """What came of a comparison.

    Attributes:
        numbers: the scores by their names.
        protocol: what was compared, and how.
        run: whose model it was, if there is one.
    """

    numbers: dict[str, float]
    protocol: Json
    run: Path | None

    def keep(self, score: Json, say: Say) -> None:
        """Adds `score` to the run's `eval.json`."""
        if self.run is None:
            return
        try:
            remember(self.run, score, say)
        except RunError as error:  # a run of somebody else's may be scored, too
            say(f"warning: the score is not kept: {error}")


def make_metrics(names: Sequence[str], options: Json) -> dict[str, Metric]:
    """The metrics called so, each with its own `options`: nested, by the metric's name.

    Raises:
        ConfigError: for an unknown name, or an impossible option.
    """
    made: dict[str, Metric] = {}
    for name in names:
        kind = resolve(METRICS, "--metrics", name)
        own: Any = read(options_type(name, "metric"), options.get(name, {}), f"metrics.{name}")
        made[name] = kind(own)
    return made


def compare(request: FidRequest, metrics: Mapping[str, Metric], say: Say) -> Compared:
    """All metrics of one contest, from one pass of Inception over each side.

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
    wanting = next((name for name, item in metrics.items() if item.needs == "features"), None)
    if wanting is not None:
        refuse_statistics(contest, request, wanting)
    inception = load_inception(say=say).to(device)
    told = progress("generated", say, contest.num_fakes)
    whole = wanting is not None
    fakes = fake_set(contest.fakes, inception, request, told, with_features=whole)
    reals, unreadable = real_set(contest.reals, inception, request, say, with_features=whole)
    if not inception.weights_id.startswith(WEIGHTS_HASH_PREFIX):
        say(
            f"warning: the Inception weights (sha256 {inception.weights_id[:12]}) are not the file "
            "that pytorch-fid publishes; compare with other scores only if the network is the same"
        )
    known = [count for count in (fakes.num_images, reals.num_images) if count is not None]
    numbers: dict[str, float] = {}
    for metric in metrics.values():
        if known and (warning := metric.warning(min(known))):
            say(f"warning: {warning}")
        numbers |= metric.scores(fakes, reals)
    protocol = {
        "n_real": reals.num_images,
        "n_fake": fakes.num_images,
        "skipped": len({*contest.skipped, *contest.reals.skipped, *unreadable}),
        "real": contest.reals.label,
        "fake": contest.fake_label,
        "weights": inception.weights_id,
        "protocol": describe_protocol(request, contest),
    }
    return Compared(numbers, protocol, chosen.run if chosen is not None else None)


def refuse_statistics(contest: Contest, request: FidRequest, metric: str) -> None:
    """Refuses statistics where the images themselves are needed.

    Raises:
        ConfigError: naming the side.
    """
    given = {"--fake": isinstance(contest.fakes, Statistics) and request.fake}
    given["--real"] = contest.reals.statistics is not None and request.real[0]
    for option, path in given.items():
        if path:
            raise ConfigError(
                f"--metrics {metric}: compares features of single images, {option} {path} holds "
                "statistics of all; give the folder of images"
            )


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
        fakes = uint8_folder(paths, say=say, strict=request.strict, skipped=skipped, pixels=found)
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
    files = scan(root, task=task, direction=direction, strict=request.strict, say=say)
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
        split, size=size, batch_size=1, say=say, strict=strict, skipped=skipped, pixels=pixels
    )
    for _, sources in batches:
        yield from as_rgb(to_uint8(run_generator(fast, sources)))


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
    console.print_table(["", "value"], [["FID", f"{score['fid']:.4f}"], *protocol_rows(score)])


def protocol_rows(score: Json) -> list[list[str]]:
    """Lines of a table: what was compared, and how."""
    rows = [
        ["generated images", f"{score['n_fake']} ({score['fake']})"],
        ["real images", f"{score['n_real']} ({', '.join(score['real'])})"],
        ["unreadable files left out", str(score["skipped"])],
    ]
    return rows + [[name, str(value)] for name, value in score["protocol"].items()]
