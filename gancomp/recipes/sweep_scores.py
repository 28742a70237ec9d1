"""The options of a plan's `[[score]]`: those of `gancomp eval`, or of `gancomp eval-sr`."""

from __future__ import annotations

import typing
from typing import Any

from gancomp.options import all_metric_options
from gancomp.recipes.eval_sr import SrRequest
from gancomp.scoring.request import FidRequest
from gancomp.sweeping.plan import EVAL, EVAL_SR

TYPED = (bool, int, float)  # all other values are given as text


def scoring_options() -> dict[str, dict[str, type]]:
    """By command, its options by name, with the kinds of their values."""
    own = {option.name.removeprefix("--"): option.kind for option in all_metric_options()}
    beside = {"metrics": str, "bootstrap": int, "pairs": str, "arch": str}
    return {EVAL: _kinds(FidRequest) | beside | own, EVAL_SR: _kinds(SrRequest)}


def _kinds(request: type) -> dict[str, type]:
    """Of each field but the model, which the sweep gives."""
    hints = {name: _without_none(hint) for name, hint in typing.get_type_hints(request).items()}
    return {
        name.replace("_", "-"): kinds[0] if len(kinds) == 1 and kinds[0] in TYPED else str
        for name, kinds in hints.items()
        if name != "model"
    }


def _without_none(hint: Any) -> list[Any]:
    return [kind for kind in typing.get_args(hint) or (hint,) if kind is not type(None)]
