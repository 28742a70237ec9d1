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
class FormOptions:
    """In which form a budget of time is measured, where it is not as gancomp runs networks."""

    budget_format: str | None = setting(
        None,
        "--budget-format",
        "A time is that of a file for openvino, onnx, pt2 or executorch.",
        shown="as gancomp runs it",
    )
    budget_precision: Literal["fp32", "bf16"] = setting(
        "fp32", "--budget-precision", "Of `budget_format` openvino: fp32 or bf16."
    )


@dataclass(frozen=True)
class WidthOptions(BudgetOptions, FormOptions):
    """Of a budget of anything."""


@dataclass(frozen=True)
class MagnitudeOptions(BudgetOptions, FormOptions):
    """What may go."""

    min_share: float = setting(
        0.1, "--min-share", "The share of its channels that each layer keeps.", above=0.0, most=1.0
    )
