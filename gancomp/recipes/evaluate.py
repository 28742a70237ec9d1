"""`gancomp eval`: several scores of a model, or of two sets of images, from one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

from gancomp import console
from gancomp.engine.sharing import first_rank_first, from_lead, working_together
from gancomp.errors import ConfigError
from gancomp.recipes.eval_fid import Compared, compare, protocol_rows
from gancomp.recipes.pairs import begin_pairs
from gancomp.registry import METRICS
from gancomp.scoring.measuring import check_bootstrap, make_metrics, sorted_metrics
from gancomp.scoring.request import FidRequest, Say
from gancomp.scoring.scores import keep
from gancomp.settings import Json


def evaluate(
    request: FidRequest,
    names: Sequence[str],
    options: Json,
    say: Say,
    *,
    bootstrap: int = 0,
    pairs: str | None = None,
) -> Json:
    """The scores called `names`, as `eval --json` prints them; kept in the run's `eval.json`.

    Args:
        request: what is compared, as for FID.
        names: lines of the table of metrics; those of pairs need `pairs`.
        options: the metrics' own options, by metric and field.
        say: told how far it is.
        bootstrap: resamples for `low` and `high`, the ends of 95 % intervals; 0 for none.
        pairs: what each image is compared with: `targets`, `teacher`, a model; `files` of folders.

    Raises:
        ConfigError: for options that do not go together, an unknown metric, or too few images.
        DataError, CheckpointError, WeightsError: for images, models or weights.
    """
    with working_together(say) as say_alone:
        return _evaluate(request, names, options, say_alone, bootstrap=bootstrap, pairs=pairs)


def _evaluate(
    request: FidRequest,
    names: Sequence[str],
    options: Json,
    say: Say,
    *,
    bootstrap: int,
    pairs: str | None,
) -> Json:
    metrics = make_metrics(names, options)
    if unused := [name for name in options if name not in metrics]:
        raise ConfigError(
            f"`metrics` {','.join(names)}: options of {', '.join(unused)} were given; add "
            f"{'it' if len(unused) == 1 else 'them'} or remove these options"
        )
    of_sets, of_pairs = sorted_metrics(metrics)
    if not of_sets and not of_pairs:
        raise ConfigError(f"`metrics`: name some, as in `metrics` {next(iter(METRICS))}")
    check_bootstrap(bootstrap)
    # all that can be wrong with pairs is told before the first image is looked at
    with first_rank_first():
        beside = begin_pairs(request, of_pairs, say, pairs=pairs, alone=not of_sets)
    within = None if beside is None else beside.within
    compared = (
        compare(request, of_sets, say, bootstrap=bootstrap, within=within) if of_sets else None
    )
    if beside is not None:
        of_each = beside.compare(bootstrap=bootstrap)
        compared = of_each if compared is None else compared.joined(of_each)
    assert compared is not None
    return from_lead(partial(_kept, compared, say))


def _kept(compared: Compared, say: Say) -> Json:
    numbers = {name: asdict(number) for name, number in compared.numbers.items()}
    score = {"metrics": numbers, **compared.protocol}
    keep(compared.run, score, say)
    return score


def default_metrics(pairs: str | None) -> str:
    """What is computed if nothing in particular is asked for."""
    return "fid" if pairs is None else "psnr,ssim"


def names_of(text: str) -> list[str]:
    """The metrics of `fid,kid`.

    Raises:
        ConfigError: if there are none, or one is named twice.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise ConfigError(
            f"`metrics` {text}: name each once, as in `metrics` {next(iter(METRICS))}"
        )
    return names


def show_scores(score: Json) -> None:
    """Prints the scores with what they were computed from."""
    rows = [[name, _shown(number)] for name, number in score["metrics"].items()]
    console.print_table(["", "value"], [*rows, *protocol_rows(score)])


def _shown(number: Json) -> str:
    if number["value"] is None:
        return "equal images"
    value = f"{number['value']:.4f}"
    if number["low"] is None:
        return value
    return f"{value} ({number['low']:.4f} to {number['high']:.4f})"
