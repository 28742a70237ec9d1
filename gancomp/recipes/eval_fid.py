"""`gancomp eval-fid`: FID of a model on its dataset, or of two sets of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gancomp import console
from gancomp.data.in_order import uint8_folder
from gancomp.data.transforms import PixelFormat
from gancomp.declare import NoOptions
from gancomp.domains.choice import domain_for
from gancomp.engine.device import choose_device
from gancomp.engine.sharing import first_rank_first, from_lead, working_together
from gancomp.engine.speed import keep_freed_memory
from gancomp.errors import ConfigError
from gancomp.inference.models import Chosen, choose
from gancomp.metrics.base import ImageSet, Metric
from gancomp.metrics.features import WEIGHTS_HASH_PREFIX, load_inception
from gancomp.metrics.fid import Fid, Statistics
from gancomp.metrics.statistics_files import load_statistics
from gancomp.scoring.images import Images, Pixels
from gancomp.scoring.measuring import (
    Extractor,
    Number,
    both_sets,
    check_bootstrap,
    check_counts,
    drawn,
    numbers_of,
    own_protocols,
)
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
from gancomp.scoring.scores import keep
from gancomp.settings import Json


def eval_fid(request: FidRequest, say: Say) -> Json:
    """The FID and its protocol, as `eval-fid --json` prints it; kept in the run's `eval.json`.

    Raises:
        ConfigError: for options that do not go together.
        DataError, CheckpointError, WeightsError: for images, model or Inception weights.
    """
    with working_together(say) as say_alone:
        compared = compare(request, {"fid": Fid(NoOptions())}, say_alone)

        def kept() -> Json:
            score = {"fid": compared.numbers["fid"].value, **compared.protocol}
            keep(compared.run, score, say_alone)
            return score

        return from_lead(kept)


@dataclass(frozen=True)
class Compared:
    """What came of a comparison.

    Attributes:
        numbers: the scores by their names, with intervals where these were asked for.
        protocol: what was compared, and how.
        run: whose model it was, if there is one.
    """

    numbers: dict[str, Number]
    protocol: Json
    run: Path | None

    def joined(self, pairs: Compared) -> Compared:
        """With the scores of pairs, too."""
        protocol = self.protocol["protocol"] | pairs.protocol["protocol"]
        whole = {**self.protocol, "protocol": protocol}
        return Compared(self.numbers | pairs.numbers, whole, self.run)


def compare(
    request: FidRequest,
    metrics: Mapping[str, Metric],
    say: Say,
    *,
    bootstrap: int = 0,
    within: Callable[[Contest], Contest] | None = None,
) -> Compared:
    """All metrics of one contest, from one pass of Inception over each side.

    Of several ranks that share the images, the first one alone computes the scores; all get them.

    Args:
        request: what is compared.
        metrics: by their names.
        say: told how far it is.
        bootstrap: resamples for the scores' intervals; 0 for none.
        within: gives the contest in which something else is done with its images, too.

    Raises:
        ConfigError: for options that do not go together, or too few images for a metric.
        DataError, CheckpointError, WeightsError: for images, model or Inception weights.
    """
    check_request(request)
    check_bootstrap(bootstrap)
    device = choose_device(request.device)
    if device.type == "cpu":  # maps of the same sizes, batch after batch
        keep_freed_memory()
    with first_rank_first():
        asked = request.model, request.part
        chosen = choose(*asked, device=request.device) if request.fake is None else None
        found = make_contest(request, chosen, say, device=device)
        contest = found if within is None else within(found)
        wanted = needed(contest, request, metrics, bootstrap)
        if contest.num_fakes and contest.reals.num_images:
            check_counts(metrics, contest.num_fakes, contest.reals.num_images)
        inception = load_inception(say=say).to(device)
    extractor = Extractor(inception, device, request.batch_size)
    fakes, reals, unreadable = both_sets(
        contest,
        extractor,
        say,
        wanted=wanted,
        strict=request.strict,
        save_stats=request.save_stats,
    )

    def judged() -> Compared:
        for warning in _warnings(inception.weights_id, metrics, fakes, reals):
            say(f"warning: {warning}")
        resamples = drawn(fakes, reals, bootstrap)
        numbers = numbers_of(metrics, fakes, reals, resamples=resamples)
        how = describe_protocol(contest, device, generates=request.fake is None)
        how |= own_protocols(metrics, fakes, reals)
        how |= {"bootstrap": resamples.protocol()} if resamples is not None else {}
        protocol = _sides(contest, fakes, reals, unreadable)
        protocol |= {"weights": inception.weights_id, "protocol": how}
        return Compared(numbers, protocol, chosen.run if chosen is not None else None)

    return from_lead(judged)


def _sides(contest: Contest, fakes: ImageSet, reals: ImageSet, unreadable: Sequence[Path]) -> Json:
    return {
        "n_real": reals.num_images,
        "n_fake": fakes.num_images,
        "skipped": len({*contest.skipped, *contest.reals.skipped, *unreadable}),
        "real": contest.reals.label,
        "fake": contest.fake_label,
    }


def _warnings(
    weights_id: str, metrics: Mapping[str, Metric], fakes: ImageSet, reals: ImageSet
) -> Iterator[str]:
    """What somebody should know before comparing such scores with others."""
    known = [count for count in (fakes.num_images, reals.num_images) if count is not None]
    if not weights_id.startswith(WEIGHTS_HASH_PREFIX):
        yield (
            f"the Inception weights (sha256 {weights_id[:12]}) are not the file that pytorch-fid "
            "publishes; compare with other scores only if the network is the same"
        )
    for metric in metrics.values():
        if known and (warning := metric.warning(min(known))):
            yield warning


def needed(
    contest: Contest, request: FidRequest, metrics: Mapping[str, Metric], bootstrap: int
) -> tuple[bool, bool]:
    """Whether features of all generated, and of all real images are needed.

    Raises:
        ConfigError: if statistics are given where features are needed.
    """
    why = f"`bootstrap` {bootstrap}: draws single images again" if bootstrap else None
    reason: dict[str, str | None] = {"fake": why, "real": None}
    for name, metric in metrics.items():
        compares = f"`metrics` {name}: compares features of single images"
        if metric.needs != "statistics":
            reason["fake"] = compares
        if metric.needs == "features":
            reason["real"] = compares
    given = {"fake": isinstance(contest.fakes, Statistics) and request.fake}
    given["real"] = contest.reals.statistics is not None and request.real[0]
    for option, path in given.items():
        if path and reason[option]:
            raise ConfigError(
                f"{reason[option]}, `{option}` {path} holds statistics of all; give the folder of "
                "images"
            )
    resampled = bool(bootstrap) and contest.reals.statistics is None
    return reason["fake"] is not None, reason["real"] is not None or resampled


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
                raise ConfigError("`out_range`: has no effect on statistics alone; remove it")
            protocol["fakes"] = f"statistics ({computed.protocol})"
            return Contest(str(request.fake), computed, 0, reals, protocol, skipped)
        paths = listing("fake", request.fake, say, recursive=request.recursive)
        found = folder_format(paths, request.out_range, say)
        fakes = Images(paths, partial(_stored, strict=request.strict, pixels=found))
        protocol["fakes"] = f"files as stored{as_8_bits(found)}"
        return Contest(str(request.fake), fakes, len(paths), reals, protocol, skipped)
    return domain_for(chosen.model.network).contest(request, chosen, say, device=device)


def _stored(
    paths: Sequence[Path],
    say: Say,
    skipped: list[Path],
    *,
    strict: bool,
    pixels: PixelFormat | None,
) -> Iterator[Pixels]:
    return uint8_folder(paths, say=say, strict=strict, skipped=skipped, pixels=pixels)


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
    for name, value in score["protocol"].items():
        own = value if name == "options" else {name: value}
        rows += [[_title(item, name), _in_words(told)] for item, told in own.items()]
    return rows


def _title(name: str, group: str) -> str:
    return f"{name}: options" if group == "options" else name


def _in_words(value: Any) -> str:
    """A table of JSON's as a reader likes it: `k 3, balls up to ...`."""
    if not isinstance(value, Mapping):
        return str(value)
    return "; ".join(f"{name}: {_in_words(inside)}" for name, inside in value.items())
