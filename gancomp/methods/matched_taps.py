"""A teacher's feature maps and the student's that are compared with them, pair by pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from gancomp.errors import ConfigError
from gancomp.methods.adaptors import AdaptorKind, Adaptors
from gancomp.networks.base import TappedNetwork
from gancomp.networks.shapes import tap_sizes
from gancomp.seeding import derive_generator
from gancomp.sizes import Size, sides


@dataclass(frozen=True)
class MatchedTaps:
    """The default taps of two generators, in forward order; their names may differ.

    Raises:
        ConfigError: if their numbers differ.
    """

    teacher: TappedNetwork
    student: TappedNetwork

    def __post_init__(self) -> None:
        """Refuses networks of two families."""
        if len(self.of_teacher) != len(self.of_student):
            raise ConfigError(
                f"`student_arch` {self.student.arch}: its taps cannot be matched with those of the "
                f"teacher ({self.teacher.arch}); {self._way_out()}"
            )

    @property
    def of_teacher(self) -> tuple[str, ...]:
        """The teacher's names."""
        return tuple(self.teacher.tap_channels)

    @property
    def of_student(self) -> tuple[str, ...]:
        """The student's names."""
        return tuple(self.student.tap_channels)

    @property
    def teacher_channels(self) -> dict[str, int]:
        """The teacher's channels, by the student's names."""
        return dict(zip(self.of_student, self.teacher.tap_channels.values(), strict=True))

    def pairs(
        self, teacher: Mapping[str, Tensor], student: Mapping[str, Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        """The maps `(N, C_T, H, W)`, `(N, C_S, H, W)` of each pair, the teacher's detached."""
        names = zip(self.of_teacher, self.of_student, strict=True)
        return [(teacher[one].detach(), student[other]) for one, other in names]

    def adaptors(self, kind: AdaptorKind, seed: int, role: str = "adaptors") -> Adaptors:
        """Trained convolutions from the student's channels to the teacher's.

        Args:
            kind: see `Adaptors`.
            seed: of the run.
            role: what their initial weights are derived from, beside the seed.
        """
        return Adaptors(
            self.student.tap_channels,
            self.teacher_channels,
            kind=kind,
            generator=derive_generator(seed, "init", role),
        )

    def sizes(self, size: Size) -> list[tuple[int, int]]:
        """Height and width of each pair's maps, for images of `size`.

        Raises:
            ConfigError: if those of a pair differ.
        """
        teacher = tap_sizes(self.teacher, self.of_teacher, sides(size))
        student = tap_sizes(self.student, self.of_student, sides(size))
        if teacher != student:
            raise ConfigError(
                f"`student_arch` {self.student.arch}: its maps {student} differ in size from the "
                f"teacher's ({self.teacher.arch}: {teacher}); {self._way_out()}"
            )
        return teacher

    def _way_out(self) -> str:
        if self.teacher.is_own or self.student.is_own:
            return "name as many maps of the same sizes with `taps`, `student_taps`"
        return "choose networks of one family"
