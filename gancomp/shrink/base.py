"""What a way to shrink is: a teacher and a budget in, a student's settings out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from gancomp.settings import Json, NetworkSettings
from gancomp.sizes import Size

if TYPE_CHECKING:
    from torch import Tensor

    from gancomp.networks.base import TappedNetwork


@dataclass(frozen=True)
class ShrinkRequest:
    """The student that is wanted.

    Attributes:
        teacher: the teacher's settings.
        student: what to begin with, of the student's architecture: the teacher's settings, or,
            where the student is sought after all else was checked, those that the preset gives it.
        budget: as `read` gave it.
        asked: as messages name it, `` `latency_budget` 25ms``; errors begin with it.
        size: of its images in pixels.
        device: `auto`, `cpu`, `cuda:N` or `mps`.
        open_teacher: the teacher with its weights; None where it is trained from scratch.
        say: told what was chosen.
    """

    teacher: NetworkSettings
    student: NetworkSettings
    budget: Any
    asked: str
    size: Size
    device: str = "auto"
    open_teacher: Callable[[], TappedNetwork] | None = None
    say: Callable[[str], None] = print


@dataclass(frozen=True)
class Shrunk:
    """A student.

    Attributes:
        student: its settings.
        weights: that it begins with, by name; None for random ones.
        found: what `config.json` keeps of how it was found.
    """

    student: NetworkSettings
    weights: Mapping[str, Tensor] | None = None
    found: Json = field(default_factory=dict)


class Shrinker(Protocol):
    """One way to shrink, made with its own options; a line of the table `SHRINKERS`.

    Attributes:
        example: a budget as typed, `25%`.
        from_settings: whether the student follows from settings alone, at once. If not, it is
            sought after all other options were checked.
        Options: dataclass of its own options.
    """

    example: ClassVar[str]
    from_settings: ClassVar[bool]
    Options: ClassVar[type]

    def read(self, asked: str, budget: str) -> Any:
        """The budget in a form of its own, `asked` being how it was typed; equal ones are equal.

        Raises:
            ConfigError: beginning with `asked`, if it is none.
        """

    def shrink(self, request: ShrinkRequest) -> Shrunk:
        """The student within the budget.

        Raises:
            ConfigError: beginning with `request.asked`, if there is none.
        """
