"""The shrinkers' own options, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gancomp.declare import setting


@dataclass(frozen=True)
class BudgetOptions:
    """How a budget of MACs is counted."""

    budget_rule: Literal["true", "torchprofile"] = setting(
        "true", "--budget-rule", "MACs of `budget`: true, or torchprofile's, as papers print them."
    )


@dataclass(frozen=True)
class MagnitudeOptions(BudgetOptions):
    """What may go."""

    min_share: float = setting(
        0.1, "--min-share", "The share of its channels that each layer keeps.", above=0.0, most=1.0
    )
