"""Where a run's student comes from: the way to shrink that was asked for, and its budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from gancomp.config import read
from gancomp.declare import NoOptions
from gancomp.errors import CheckpointError, ConfigError
from gancomp.export.model import open_model
from gancomp.export.timed import DeployedForm
from gancomp.files import replacing
from gancomp.inference.models import teacher_file
from gancomp.networks.base import TappedNetwork
from gancomp.options import all_options, field_of
from gancomp.records import Record
from gancomp.registry import NETWORKS, SHRINKERS, options_type, resolve
from gancomp.settings import Json, NetworkSettings, Overrides, Settings
from gancomp.settings.networks import declared_of, has_width
from gancomp.shrink.base import Form, Shrinker, ShrinkRequest, Shrunk, searches
from gancomp.shrink.budget import Budget
from gancomp.shrink.latency import Latency
from gancomp.shrink.options import FormOptions
from gancomp.shrink.ratio import Ratio

REACHED = "reached"  # in a run's `shrink`: the search is over
INITIAL = "initial.safetensors"  # weights that a student begins with, in a run's folder


@dataclass(frozen=True)
class Way:
    """A way to shrink and its budget.

    Attributes:
        name: in the table.
        shrinker: made with its options.
        text: the budget as typed.
        budget: as read.
        asked: both as typed, for messages.
        form: in which a time is measured; None where it is as gancomp runs networks.
    """

    name: str
    shrinker: Shrinker
    text: str
    budget: Any
    asked: str
    form: Form | None = None

    @property
    def prunes(self) -> bool:
        """Whether it makes the teacher itself smaller."""
        return bool(getattr(self.shrinker, "prunes", False))

    @property
    def most_ms(self) -> float | None:
        """The budget, if it is of time."""
        if isinstance(self.budget, Budget):
            return self.budget.most if self.budget.measure == "ms" else None
        return self.budget if isinstance(self.shrinker, Latency) else None


def way_of(given: Overrides) -> Way | None:
    """What was asked for, by `--shrink`, `--ratio` or `--latency-budget`; None if nothing was.

    Raises:
        ConfigError: for two of them, an unknown name, or a budget that is none.
    """
    has_options = given.shrink_options and given.latency_budget is None
    if given.shrink is None and (given.budget is not None or has_options):
        if given.budget is not None:
            raise ConfigError(f"`budget`: needs `shrink` {'|'.join(SHRINKERS)}")
        raise _homeless(next(iter(given.shrink_options)))
    if given.shrink is not None:
        kind = resolve(SHRINKERS, "shrink", given.shrink)
        if given.budget is None:
            raise ConfigError(f"`shrink` {given.shrink}: needs `budget`, such as {kind.example}")
        asked = f"`shrink` {given.shrink} `budget` {given.budget}"
        return make_way(given.shrink, given.budget, asked, given.shrink_options)
    if given.latency_budget is not None:
        text = given.latency_budget
        return make_way("latency", text, f"`latency_budget` {text}", given.shrink_options)
    if given.ratio is not None:
        return ratio_way(given.ratio)
    return None


def ratio_way(ratio: float) -> Way:
    """Of `--ratio`, or a preset's: the nearest width, which may be above it."""
    way = make_way("ratio", repr(ratio), f"`ratio` {ratio:g}", {})
    return replace(way, shrinker=Ratio(NoOptions(), nearest=True))


def make_way(
    name: str, text: str, asked: str, options: Mapping[str, Any], *, field: str = "shrink"
) -> Way:
    """The way to shrink called `name`, with its budget and its own options.

    Args:
        name: in the table.
        text: the budget as typed.
        asked: both as messages name them.
        options: of its own, by name.
        field: by which it was chosen.

    Raises:
        ConfigError: for an unknown name, a budget that is none, an option that it lacks, or a form
            that cannot be measured here.
    """
    kind = resolve(SHRINKERS, field, name)
    _refuse_foreign(name, options, field)
    own: Any = read(options_type(name, "shrinker"), dict(options), "shrink_options")
    shrinker: Shrinker = kind(own)
    budget = shrinker.read(asked, text)
    return Way(name, shrinker, text, budget, asked, _form_of(own, budget, asked))


def _owners(option: str) -> list[str]:
    """The ways to shrink that have this option."""
    rows = (row for row in all_options() if row.setting == f"shrink_options.{option}")
    return [owner.rpartition(" ")[2] for row in rows for owner in row.owners]


def _homeless(option: str) -> ConfigError:
    """What is said of an option of ways to shrink where none was chosen."""
    owners = _owners(option)
    or_else = " or `latency_budget`" if "latency" in owners else ""
    return ConfigError(
        f"{field_of(f'shrink_options.{option}')}: needs `shrink` {'|'.join(owners or SHRINKERS)}"
        f"{or_else}"
    )


def _refuse_foreign(name: str, options: Mapping[str, Any], field: str) -> None:
    """Refuses options of other ways to shrink."""
    known = [item.name for item in fields(options_type(name, "shrinker"))]
    for given in options:
        if given not in known:
            owners = "|".join(_owners(given))
            hint = f"it belongs to `{field}` {owners}; " if owners else ""
            raise ConfigError(
                f"{field_of(f'shrink_options.{given}')}: `{field}` {name} has no such option; "
                f"{hint}remove it"
            )


def _form_of(options: object, budget: object, asked: str) -> Form | None:
    """The form that a budget of time is to be measured in, if that was asked for."""
    if not isinstance(options, FormOptions):
        return None
    given, precision = options.budget_format, options.budget_precision
    if given is None and precision == FormOptions().budget_precision:
        return None
    if given is None:
        raise ConfigError(f"`budget_precision` {precision}: needs `budget_format` openvino")
    if isinstance(budget, Budget) and budget.measure != "ms":
        raise ConfigError(
            f"`budget_format` {given}: {asked} is no time; remove it, or give one, such as 25ms"
        )
    return DeployedForm(given, precision)


def compares_features(name: str | None) -> bool:
    """Whether the way to shrink called `name` has a perceptual loss of its own."""
    if name is None or name not in SHRINKERS:
        return False
    return bool(getattr(resolve(SHRINKERS, "shrink", name), "has_features", False))


def refuse_two_widths(given: Overrides, way: Way | None, typed: Json) -> None:
    """Refuses two options that both say how wide the student is.

    Raises:
        ConfigError: naming them.
    """
    widths: dict[str, Any] = {
        "ratio": given.ratio,
        "student_width": given.student_width,
        "latency_budget": given.latency_budget,
        "shrink": given.shrink,
    }
    named = [f"`{field}`" for field, value in widths.items() if value is not None]
    if len(named) > 1:
        raise ConfigError(f"{' and '.join(named)}: give one of them")
    if way is None or way.shrinker.from_settings:
        return
    for name in ("width", "channels"):
        if typed.get(name) is not None:
            raise ConfigError(f"student.{name} and {named[0]}: give one of them")


def refuse_width(arch: str, *asked: str | None) -> None:
    """Refuses what asks for a width of a network that has none.

    Raises:
        ConfigError: naming the option and the network.
    """
    for text in asked:
        if text is not None and not has_width(arch):
            raise ConfigError(
                f"{text}: {arch} has no width; remove it, or choose another `arch` or "
                "`student_arch`"
            )


def shrunk_at_once(teacher: NetworkSettings, arch: str, way: Way, size: Any) -> NetworkSettings:
    """The student that follows from settings alone.

    Of the teacher's own options another kind of network keeps those that it has.
    """
    start = teacher.changed(arch=arch)
    if arch != teacher.arch and arch in NETWORKS:
        lost = teacher.own.keys() - {name for name, _ in declared_of(arch)}
        start = start.changed(**dict.fromkeys(lost))
    request = ShrinkRequest(teacher, start, way.budget, way.asked, size)
    return way.shrinker.shrink(request).student


def shrink_checked(
    settings: Settings,
    way: Way,
    open_teacher: Callable[[], TappedNetwork] | None,
    say: Callable[[str], None],
) -> tuple[Settings, Shrunk]:
    """The settings with the student that is sought once all else was checked.

    Raises:
        ConfigError: if there is none within the budget.
    """
    shrunk = way.shrinker.shrink(request_of(settings, way, open_teacher, say))
    return replace(settings, student=shrunk.student), shrunk


def opener(settings: Settings) -> Callable[[], TappedNetwork] | None:
    """What opens the given teacher; None where it is trained from scratch."""
    source = settings.teacher.source
    return None if source is None else lambda: open_model(teacher_file(source)).network


def request_of(
    settings: Settings,
    way: Way,
    open_teacher: Callable[[], TappedNetwork] | None,
    say: Callable[[str], None],
) -> ShrinkRequest:
    """What is asked of a way to shrink in a run with these settings."""
    assert settings.student is not None, "pretrain has no such option"
    return ShrinkRequest(
        settings.teacher.network,
        settings.student,
        way.budget,
        way.asked,
        settings.data.size,
        device=settings.run.device,
        open_teacher=open_teacher,
        say=say,
        form=way.form,
    )


def unfinished(config: Record) -> str | None:
    """The name of the search that a run was begun with, if it is not over.

    One that nothing here knows is taken for a search where nothing says what it found.
    """
    saved = config.find("shrink", dict) or {}
    name = saved.get("by")
    if not isinstance(name, str) or not isinstance(saved.get("budget"), str) or saved.get(REACHED):
        return None
    if name not in SHRINKERS:
        return None if saved.keys() - {"by", "budget", "options"} else name
    return name if searches(resolve(SHRINKERS, "shrink", name)) else None


def search_to_go_on(config: Record) -> Way | None:
    """The search that a run was begun with, if it is not over."""
    name = unfinished(config)
    if name is None:
        return None
    budget = config.get("shrink.budget", str)
    asked = f"`shrink` {name} `budget` {budget}"
    return make_way(name, budget, asked, config.find("shrink.options", dict) or {})


def refuse_other_budget(given: Overrides, config: Record, out: Path) -> None:
    """Refuses another budget, or another option of the way to shrink: a run keeps its student.

    Raises:
        ConfigError: naming the run.
    """
    if given.shrink is None and given.latency_budget is None and not given.shrink_options:
        return
    way = way_of(given)
    assert way is not None
    saved = config.find("shrink", dict) or {}
    known = saved.get("by"), saved.get("budget")
    asked_ms = config.find("latency_budget.asked_ms", float)
    if not saved and asked_ms is not None:  # of a run of before there were other ways
        known = "latency", f"{asked_ms!r}ms"
    same = known[0] == way.name and isinstance(known[1], str)
    asked = (
        [] if same and way.shrinker.read(way.asked, str(known[1])) == way.budget else [way.asked]
    )
    begun = saved.get("options")
    if not asked and isinstance(begun, dict):  # runs of before may have none
        asked = _changed_options(way.name, begun, given.shrink_options)
    if asked:
        raise ConfigError(
            f"{', '.join(asked)}: the run in {out} was started with another, or none; remove it, "
            "or choose another `out`"
        )


def _changed_options(name: str, begun: Json, given: Mapping[str, Any]) -> list[str]:
    """What was given of a way's own options and is not what a run was begun with."""
    kind = options_type(name, "shrinker")
    old: Any = read(kind, dict(begun), "shrink_options")
    new: Any = read(kind, begun | dict(given), "shrink_options")
    return [f"`{key}` {given[key]}" for key in given if getattr(old, key) != getattr(new, key)]


def refuse_other_student(given: Overrides, way: Way) -> None:
    """Refuses another architecture than the only one that the way to shrink finds.

    Raises:
        ConfigError: naming it.
    """
    finds = getattr(way.shrinker, "finds", None)
    if finds is not None and given.student_arch not in (None, finds):
        raise ConfigError(
            f"`student_arch` {given.student_arch}: {way.asked} finds {finds} networks; remove it"
        )


def refuse_other_task(way: Way, task: str | None) -> None:
    """Refuses data that a search does not work on; `task` is None where nobody knows.

    Raises:
        ConfigError: naming both.
    """
    tasks = getattr(way.shrinker, "tasks", None)
    if tasks is not None and task is not None and task not in tasks:
        raise ConfigError(
            f"{way.asked}: searches on {' or '.join(tasks)} data, not {task}; choose magnitude or "
            "width instead"
        )


def save_initial(run: Path, weights: Mapping[str, Tensor]) -> None:
    """Keeps the weights that a student begins with, for a run that is killed at once."""
    with replacing(run / INITIAL) as aside:
        save_file({name: value.contiguous() for name, value in weights.items()}, aside)


def load_initial(run: Path) -> Mapping[str, Tensor] | None:
    """What `save_initial` kept, if anything.

    Raises:
        CheckpointError: if it cannot be read.
    """
    if not (run / INITIAL).exists():
        return None
    try:
        return load_file(run / INITIAL)
    except Exception as error:  # a damaged file makes safetensors raise almost anything
        raise CheckpointError(f"{run / INITIAL}: cannot be read ({error}); start anew") from error


def fill(student: TappedNetwork, weights: Mapping[str, Tensor]) -> None:
    """Lets the student begin with `weights`.

    Raises:
        ConfigError: if these are not its own.
    """
    try:
        student.load_state_dict(dict(weights))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"`shrink`: its weights do not fit its student ({reason})") from error
