"""`gancomp eval`: several scores of a model, or of two sets of images, from one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from gancomp import console
from gancomp.errors import ConfigError
from gancomp.recipes.eval_fid import compare, protocol_rows
from gancomp.registry import METRICS
from gancomp.scoring.numbers import make_metrics
from gancomp.scoring.request import FidRequest, Say
from gancomp.settings import Json


def evaluate(
    request: FidRequest, names: Sequence[str], options: Json, say: Say, *, bootstrap: int = 0
) -> Json:
    """The scores called `names`, as `eval --json` prints them; kept in the run's `eval.json`.

    Args:
        request: what is compared, as for FID.
        names: lines of the table of metrics.
        options: the metrics' own options, by metric and field.
        say: told how far it is.
        bootstrap: resamples for `low` and `high`, the ends of 95 % intervals; 0 for none.

    Raises:
        ConfigError: for options that do not go together, an unknown metric, or too few images.
        DataError, CheckpointError, WeightsError: for images, model or Inception weights.
    """
    metrics = make_metrics(names, options)
    if unused := [name for name in options if name not in metrics]:
        raise ConfigError(
            f"--metrics {','.join(names)}: options of {', '.join(unused)} were given; add "
            f"{'it' if len(unused) == 1 else 'them'} or remove these options"
        )
    compared = compare(request, metrics, say, bootstrap=bootstrap)
    numbers = {name: asdict(number) for name, number in compared.numbers.items()}
    score = {"metrics": numbers, **compared.protocol}
    compared.keep(score, say)
    return score


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
    rows = [[name, _shown(number)] for name, number in score["metrics"].items()]
    console.print_table(["", "value"], [*rows, *protocol_rows(score)])


def _shown(number: Json) -> str:
    value = f"{number['value']:.4f}"
    if number["low"] is None:
        return value
    return f"{value} ({number['low']:.4f} to {number['high']:.4f})"
