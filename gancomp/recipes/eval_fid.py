"""`gancomp eval-fid`: FID of a model on its dataset, or of two sets of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from gancomp import console
from gancomp.config import read
from gancomp.data.loader import uint8_folder
from gancomp.domains.choice import domain_for
from gancomp.engine.device import choose_device
from gancomp.engine.speed import keep_freed_memory
from gancomp.errors import ConfigError, RunError
from gancomp.inference.models import Chosen, choose
from gancomp.metrics.base import Metric
from gancomp.metrics.features import WEIGHTS_HASH_PREFIX, load_inception
from gancomp.metrics.fid import Statistics
from gancomp.metrics.statistics_files import load_statistics
from gancomp.registry import METRICS, options_type, resolve
from gancomp.scoring.measuring import Extractor, fake_set, progress, real_set
from gancomp.scoring.request import (
    Contest,
    FidRequest,
    Say,
    as_8_bits,
    check_request,
    folder_format,
    given_reals,
    holds_statistics,
    listing,
)
from gancomp.scoring.scores import remember
from gancomp.settings import Json


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
    chosen = (
        choose(request.model, request.part, device=request.device) if request.fake is None else None
    )
    contest = make_contest(request, chosen, say, device=device)
    wanting = next((name for name, item in metrics.items() if item.needs == "features"), None)
    if wanting is not None:
        refuse_statistics(contest, request, wanting)
    inception = load_inception(say=say).to(device)
    extractor = Extractor(inception, device, request.batch_size)
    told = progress("generated", say, contest.num_fakes)
    whole = wanting is not None
    fakes = fake_set(contest.fakes, extractor, told, with_features=whole)
    reals, unreadable = real_set(
        contest.reals,
        extractor,
        say,
        strict=request.strict,
        save_stats=request.save_stats,
        with_features=whole,
    )
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
        "protocol": describe_protocol(contest, device, generates=request.fake is None),
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


def make_contest(
    request: FidRequest, chosen: Chosen | None, say: Say, *, device: torch.device
) -> Contest:
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
    return domain_for(chosen.model.network).contest(request, chosen, say, device=device)


def describe_protocol(contest: Contest, device: torch.device, *, generates: bool) -> Json:
    """Everything that a reader needs to repeat the score, beside the two sets themselves."""
    return {
        "features": "pytorch-fid InceptionV3 pool3 (2048), bilinear resize to 299",
        "precision": number_format(device, generates=generates),
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
