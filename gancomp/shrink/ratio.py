"""The plainest student: the same kind of network with a fraction of the teacher's channels."""

from __future__ import annotations

from dataclasses import replace

from gancomp.errors import ConfigError
from gancomp.settings import NetworkSettings


def narrowed(teacher: NetworkSettings, ratio: float, *, arch: str) -> NetworkSettings:
    """Settings of a student of architecture `arch` with `ratio` times the teacher's width.

    Where the number of blocks is a setting, it shrinks alike: SRGAN's student has half of both.

    Args:
        teacher: the teacher's settings.
        ratio: channels of the student over channels of the teacher, in (0, 1].
        arch: the student's architecture, often the teacher's own.

    Raises:
        ConfigError: if the ratio is out of range.

    Source: OMGD and DCD, whose students have 1/4 of the teacher's channels.
    """
    if not 0 < ratio <= 1:
        raise ConfigError(f"--ratio {ratio:g}: must be greater than 0 and at most 1")
    blocks = None if teacher.blocks is None else max(1, round(teacher.blocks * ratio))
    width = max(1, round(teacher.width * ratio))
    return replace(teacher, arch=arch, width=width, blocks=blocks, channels=None)
