"""What a way to shrink is: a teacher and a budget in, a student's settings out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeGuard

from gancomp.settings import Json, NetworkSettings, OptimizerSettings
from gancomp.shrink.kept import KeptLines
from gancomp.sizes import Size

if TYPE_CHECKING:
    from torch import Tensor

    from gancomp.losses.perceptual import PerceptualFeatures
    from gancomp.methods.base import Method
    from gancomp.networks.base import TappedNetwork
    from gancomp.shrink.candidates import Candidates
    from gancomp.tasks.base import Task


class Form(Protocol):
    """What networks are turned into before they are timed, on the CPU.

    Attributes:
        name: format and precision, as times are kept under it.
    """

    name: str

    def __call__(self, network: TappedNetwork, size: Size) -> Timed:
        """The network in this form, for images of that size.

        Raises:
            ConfigError, ExportError: if it cannot have it.
        """


class Timed(Protocol):
    """A network that is ready to be timed.

    Attributes:
        how: what computes it, in words.
    """

    @property
    def how(self) -> str:
        """See above."""

    def __call__(self, inputs: Any, /) -> Any:
        """The output for such inputs as the network takes."""


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
        form: in which times are measured; None for networks as gancomp runs them.
    """

    teacher: NetworkSettings
    student: NetworkSettings
    budget: Any
    asked: str
    size: Size
    device: str = "auto"
    open_teacher: Callable[[], TappedNetwork] | None = None
    say: Callable[[str], None] = print
    form: Form | None = None


@dataclass(frozen=True)
class Shrunk:
    """A student.

    Attributes:
        student: its settings.
        weights: that it begins with, by name; None for random ones.
        found: what `config.json` keeps of how it was found.
        others: what was found beside it, by name, for files of their own.
    """

    student: NetworkSettings
    weights: Mapping[str, Tensor] | None = None
    found: Json = field(default_factory=dict)
    others: Mapping[str, Shrunk] = field(default_factory=dict)


class Shrinker(Protocol):
    """One way to shrink, made with its own options; a line of the table `SHRINKERS`.

    Attributes:
        example: a budget as typed, `25%`.
        from_settings: whether the student follows from settings alone, at once. If not, it is
            sought after all other options were checked.
        Options: dataclass of its own options.

    One with `prunes = True` makes the teacher itself smaller, so that it needs no width.
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


def trains_nothing(method: Method, start: int, pause: Callable[[], None]) -> None:
    """Of a search that takes all its steps before it chooses."""
    raise AssertionError("this search trains nothing while it chooses")


def none_held_out() -> tuple[list[Tensor], list[Tensor]]:
    """Of a search that scores nothing itself."""
    raise AssertionError("this search scores nothing itself")


@dataclass(frozen=True)
class SearchSetup:
    """What a search has to work with beside the request.

    Attributes:
        request: the student that is wanted, and the teacher.
        teacher_task: makes the objective around the given teacher, which is frozen; with
            `whole=True`, with all that was trained beside it.
        fresh_task: makes the objective around a generator that is trained from scratch.
        optimizer: Adam's settings.
        seed: of the run.
        paired: whether each source image has its target.
        steps: that the search's training takes.
        train: takes `steps` steps of a method that is part of the choice, on the run's images from
            that batch on; the last argument is called before each step, and may raise to stop.
        held_out: sources and, unpaired, targets held out of training, each `(1, C, H, W)`, for a
            search that scores its candidates itself.
        features: opens the network of the perceptual losses with these taps; gives None if the
            run does without.
        times: what was measured, for `Meter.keep_times_in`; written once the search has begun.
    """

    request: ShrinkRequest
    teacher_task: Callable[..., Task]
    fresh_task: Callable[[TappedNetwork], Task]
    optimizer: OptimizerSettings
    seed: int
    paired: bool
    steps: int
    train: Callable[[Method, int, Callable[[], None]], None] = trains_nothing
    held_out: Callable[[], tuple[list[Tensor], list[Tensor]]] = none_held_out
    features: Callable[[Sequence[str]], PerceptualFeatures | None] = lambda taps: None
    times: KeptLines = field(default_factory=KeptLines)


Judge = Callable[["TappedNetwork"], float]


class Search(Protocol):
    """A search under way.

    Attributes:
        method: what is trained on the run's images before the shape is chosen; None where all
            training is part of the choice.

    One whose students are not of the architecture that was asked for has `widest`, settings by
    which the run's method is checked before the search.
    """

    @property
    def method(self) -> Method | None:
        """See above."""

    def choose(self, judge: Judge, candidates: Candidates) -> Shrunk:
        """The student, once `method` was trained.

        Args:
            judge: scores a generator on images held out of training; lower is better.
            candidates: what was looked at; each is told to it.

        Raises:
            ConfigError: if there is none within the budget.
        """


class Searcher(Shrinker, Protocol):
    """A way to shrink that trains something on the run's images before it knows the shape.

    Attributes:
        searches: tells it from the others.
        length: steps of its training, as a share of the run's.
        options: its own, with `search_steps`, and what scores need.

    One with `judges_both_ways = True` has unpaired targets held out, too.
    One with `has_features = True` compares VGG's maps, which `SearchSetup.features` opens.
    One with `tasks` works on data of these only.
    One with `finds`, an architecture, finds students of that one only.
    """

    searches: ClassVar[bool]
    length: ClassVar[float]
    options: Any

    def begin(self, setup: SearchSetup) -> Search:
        """The search, before its training.

        Raises:
            ConfigError: beginning with what was asked, if it cannot work on these networks, or if
                no student is within the budget: nobody should train for hours to hear that.
        """


def searches(shrinker: object) -> TypeGuard[Searcher]:
    """Whether a way to shrink trains before it knows the shape."""
    return bool(getattr(shrinker, "searches", False))
