"""The scores of a run as a page shows them: one form, whichever command kept them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from gancomp.settings import Json

HIGHER = ("psnr", "ssim", "precision", "recall", "density", "coverage")  # or `psnr_y` and the like
NAMES = {"fid": "FID", "kid": "KID", "lpips": "LPIPS", "fid_infinity": "FID∞"}
FIRST = ("fid", "psnr_y", "kid")  # what is plotted, if there are several
BICUBIC = "bicubic"  # interpolation, beside which models for super-resolution are scored
# of a protocol, what may differ between scores that are compared
OWN = ("step", "device", "precision", "selection", "backend", "runtime", "threads")


@dataclass(frozen=True)
class Score:
    """One number about one model.

    Attributes:
        model: `student`, `teacher` or what its file is called.
        metric: by its name in the tables.
        value: as computed.
        low: lower end of its interval, where one was computed.
        high: upper end.
        step: of the model; None if its file does not say.
        count: images that were scored.
        kept: all that was kept with it.
    """

    model: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    step: int | None = None
    count: int | None = None
    kept: Json = field(default_factory=dict)

    @property
    def higher_is_better(self) -> bool:
        """Whether more is better; of FID, KID and LPIPS less is."""
        return self.metric.split("_")[0] in HIGHER

    @property
    def protocol(self) -> str:
        """What two scores must have in common to be compared, as one text."""
        rules = self.kept.get("protocol")
        rules = rules if isinstance(rules, dict) else {"protocol": rules}
        sets = {key: self.kept.get(key) for key in ("real", "n_real", "n_fake", "weights")}
        sets |= {key: self.kept.get(key) for key in ("dataset", "scale")}
        rest = {key: value for key, value in rules.items() if key not in OWN}
        return json.dumps([self.metric, sets, rest], sort_keys=True, default=str)


def title_of(metric: str) -> str:
    """`FID`, `PSNR (Y)` and so on."""
    name, _, kind = metric.partition("_")
    if metric in NAMES:
        return NAMES[metric]
    if name in ("psnr", "ssim"):
        return f"{name.upper()} ({kind.upper()})" if kind else name.upper()
    return metric.replace("_", " ")


def scores_in(kept: Iterable[Json]) -> list[Score]:
    """The numbers of `eval.json`, oldest first; of an equal protocol the newest alone.

    Args:
        kept: its entries: of `eval-fid`, `eval` and `eval-sr`. What is none of these is left out.
    """
    found: dict[tuple[str, str, str], Score] = {}
    for entry in kept:
        for score in _numbers(entry):
            key = (score.model, score.metric, score.protocol)
            found.pop(key, None)
            found[key] = score
    return list(found.values())


def _numbers(entry: Json) -> Iterable[Score]:
    model = Path(str(entry.get("fake") or entry.get("model") or "model")).stem
    rules = entry.get("protocol")
    step = rules.get("step") if isinstance(rules, dict) else None
    count = entry.get("n_fake")
    if count is None and isinstance(rules, dict):
        count = rules.get("num_images")
    about = partial(Score, model=model, step=step, count=count, kept=entry)
    if _is_number(entry.get("fid")):
        yield about(metric="fid", value=entry["fid"])
    several = entry.get("metrics")
    for name, number in (several if isinstance(several, dict) else {}).items():
        values = number if isinstance(number, dict) else {"value": number}
        if _is_number(values.get("value")):
            low, high = (
                end if _is_number(end) else None for end in (values.get("low"), values.get("high"))
            )
            yield about(metric=str(name), value=values["value"], low=low, high=high)
    for means, named in ((entry.get("mean"), model), (entry.get("bicubic"), BICUBIC)):
        for name, value in (means if isinstance(means, dict) else {}).items():
            if _is_number(value):
                yield replace(about(metric=str(name), value=value), model=named)


def _is_number(value: object) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
    )


def shown(score: Score) -> str:
    """The number, with its interval where there is one."""
    text = digits(score.value)
    if score.low is None or score.high is None:
        return text
    return f"{text} ({digits(score.low)} to {digits(score.high)})"


def digits(value: float) -> str:
    """As many digits as a score deserves."""
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4f}"


def main_metric(scores: Sequence[Score]) -> str | None:
    """The metric that is plotted: FID if there is one."""
    names = list(dict.fromkeys(score.metric for score in scores))
    return next((name for name in FIRST if name in names), names[0] if names else None)


def front(points: Sequence[tuple[float, float]], *, higher: bool) -> list[tuple[float, float]]:
    """Of costs and scores those that no other beats in both, by cost.

    Args:
        points: cost, of which less is better, and score.
        higher: whether more of the score is better.
    """
    best: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda item: (item[0], -item[1] if higher else item[1])):
        if not best or (score > best[-1][1] if higher else score < best[-1][1]):
            best.append((cost, score))
    return best
