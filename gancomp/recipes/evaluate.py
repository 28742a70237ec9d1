"""`gancomp eval`: several scores of a model, or of two sets of images, from one pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from gancomp import console
from gancomp.errors import ConfigError
from gancomp.metrics.base import Metric
from gancomp.recipes.eval_fid import compare, make_metrics, protocol_rows
from gancomp.registry import METRICS
from gancomp.scoring.request import FidRequest, Say
from gancomp.settings import Json


def evaluate(request: FidRequest, names: Sequence[str], options: Json, say: Say) -> Json:
    """The scores called `names`, as `eval --json` prints them; kept in the run's `eval.json`.

    Args:
        request: what is compared, as for FID.
        names: lines of the table of metrics.
        options: the metrics' own options, by metric and field.
        say: told how far it is.

    Raises:
        ConfigError: for options that do not go together, or an unknown metric.
        DataError, CheckpointError, WeightsError: for images, model or Inception weights.
    """
    metrics = make_metrics(names, options)
    if unused := [name for name in options if name not in metrics]:
        raise ConfigError(
            f"--metrics {','.join(names)}: options of {', '.join(unused)} were given; add "
            f"{'it' if len(unused) == 1 else 'them'} or remove these options"
        )
    compared = compare(request, metrics, say)
    numbers = {
        name: {"value": value, "low": None, "high": None}
        for name, value in compared.numbers.items()
    }
    score = {"metrics": numbers, **compared.protocol}
    score["protocol"] |= own_options(metrics)
    compared.keep(score, say)
    return score


def own_options(metrics: Mapping[str, Metric]) -> Json:
    """The options of the metrics that have any, as a protocol names them."""
    chosen = {
        name: dataclasses.asdict(options)
        for name, metric in metrics.items()
        if dataclasses.is_dataclass(options := getattr(metric, "options", None))
        and not isinstance(options, type)
    }
    return (
        {"options": own} if (own := {name: item for name, item in chosen.items() if item}) else {}
    )


def names_of(text: str) -> list[str]:
    """The metrics of `fid,kid`.

    Raises:
        ConfigError: if there are none, or one is named twice.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise ConfigError(
            f"--metrics {text}: name each once, as in --metrics {next(iter(METRICS))}"
        )
    return names


def show_scores(score: Json) -> None:
    """Prints the scores with what they were computed from."""
    rows = [[name, f"{number['value']:.4f}"] for name, number in score["metrics"].items()]
    console.print_table(["", "value"], [*rows, *protocol_rows(score)])
