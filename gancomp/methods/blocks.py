"""Teacher and student jointly or in turns: blocks of epochs, and what they do to the schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gancomp.engine.phases import Progress
from gancomp.errors import ConfigError
from gancomp.methods.shared_options import BlockOptions


@dataclass(frozen=True)
class BlockSchedule:
    """Whose turn it is. The rate moves with the teacher's epochs only, as OMGD and DCD released it.

    Attributes:
        teacher_epochs: of each block; 0 trains both jointly.
        student_epochs: after them, in which the teacher and its discriminators rest.
    """

    teacher_epochs: int
    student_epochs: int

    @classmethod
    def of(cls, options: BlockOptions) -> BlockSchedule:
        """As the options say.

        Raises:
            ConfigError: if only one of the block lengths is set.
        """
        teacher, student = options.teacher_block_epochs, options.student_block_epochs
        if (teacher > 0) != (student > 0):
            raise ConfigError(
                "`teacher_block_epochs`, `student_block_epochs`: give both (blocks) or neither "
                "(joint)"
            )
        return cls(teacher, student)

    @property
    def is_joint(self) -> bool:
        """Whether both learn in every step."""
        return self.teacher_epochs == 0

    def schedule_epoch(self, epoch: int) -> int:
        """The epoch that decides the learning rate."""
        if self.is_joint:
            return epoch
        block, position = divmod(epoch, self.teacher_epochs + self.student_epochs)
        return block * self.teacher_epochs + min(position, self.teacher_epochs - 1)

    def num_epochs(self, schedule_epochs: int) -> int:
        """Each `teacher_epochs` of the schedule (or what is left of it) bring the student's."""
        if self.is_joint:
            return schedule_epochs
        blocks = math.ceil(schedule_epochs / self.teacher_epochs)
        return schedule_epochs + blocks * self.student_epochs

    def is_students_turn(self, progress: Progress) -> bool:
        """Whether the student learns in the step after `progress`."""
        if self.is_joint:
            return True
        # the last block comes after the last teacher epoch, be its own block complete or not
        in_last = progress.epoch >= progress.num_epochs - self.student_epochs
        position = progress.epoch % (self.teacher_epochs + self.student_epochs)
        return in_last or position >= self.teacher_epochs

    def is_teachers_turn(self, progress: Progress) -> bool:
        """Whether teacher and discriminators learn in the step after `progress`."""
        return self.is_joint or not self.is_students_turn(progress)
