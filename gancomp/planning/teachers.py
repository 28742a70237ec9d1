"""What a method asks of its teacher: trained before or beside the student, alone or whole."""

from __future__ import annotations

from collections.abc import Iterator

from gancomp.errors import ConfigError
from gancomp.paths import expanded
from gancomp.registry import METHODS, resolve
from gancomp.settings import Json, Settings


def freeze_given(values: Json, typed: Json) -> None:
    """Freezes a teacher that is given to a method whose teacher is finished, unless it was said.

    Args:
        values: nested settings, changed in place.
        typed: those of them that were given.
    """
    teacher = typed.get("teacher", {})
    method = resolve(METHODS, "method", values["method"]["name"])
    if method.finished_teacher and teacher.get("source"):
        values["teacher"].setdefault("freeze", True)


def remarks(settings: Settings) -> Iterator[str]:
    """What to say of a teacher that is trained otherwise than the method's paper has it."""
    method = resolve(METHODS, "method", settings.method.name)
    if method.finished_teacher and settings.teacher.source is None:
        yield (
            f"`method` {settings.method.name}: its paper's teacher is finished before; this one "
            "is trained beside the student. For the paper's order: gancomp pretrain, then "
            "`teacher` RUN"
        )


def refuse_lone_generator(settings: Settings, needed_by: str | None = None) -> None:
    """Refuses a generator's file where its discriminators are needed too.

    Args:
        settings: of the run.
        needed_by: what asks for them, where the method does not.

    Raises:
        ConfigError: naming the file and the way out.
    """
    source, method = settings.teacher.source, settings.method.name
    if source is None or not settings.teacher.freeze:
        return
    needed = settings.data.task in resolve(METHODS, "method", method).whole_teacher
    if needed and not expanded(source).is_dir():
        way_out = "" if needed_by else ", or `freeze_teacher=False`"
        raise ConfigError(
            f"`teacher` {source}: is a generator alone, and {needed_by or f'`method` {method}'} "
            f"needs what was trained with it too; give the run that trained them{way_out}"
        )
