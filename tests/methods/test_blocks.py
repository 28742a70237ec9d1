from __future__ import annotations

import pytest

from gancomp.engine.phases import Progress
from gancomp.errors import ConfigError
from gancomp.methods.blocks import BlockSchedule
from gancomp.methods.shared_options import BlockOptions


def turns(blocks: BlockSchedule, schedule_epochs: int) -> str:
    """`t` or `s` for each epoch, `b` for both."""
    total = blocks.num_epochs(schedule_epochs)
    marks = {(True, False): "t", (False, True): "s", (True, True): "b"}
    moments = [Progress(epoch, epoch, total) for epoch in range(total)]
    return "".join(marks[blocks.is_teachers_turn(p), blocks.is_students_turn(p)] for p in moments)


def test_jointly_both_learn_in_every_epoch_and_none_is_added() -> None:
    joint = BlockSchedule.of(BlockOptions())
    assert turns(joint, 3) == "bbb"
    assert [joint.schedule_epoch(epoch) for epoch in range(3)] == [0, 1, 2]


def test_in_blocks_the_students_epochs_come_on_top_and_the_rate_waits_for_them() -> None:
    blocks = BlockSchedule.of(BlockOptions(2, 3))
    assert turns(blocks, 4) == "ttsssttsss"
    assert [blocks.schedule_epoch(epoch) for epoch in range(10)] == [0, 1, 1, 1, 1, 2, 3, 3, 3, 3]


def test_an_incomplete_last_block_of_the_teacher_has_a_whole_one_of_the_student() -> None:
    assert turns(BlockSchedule(2, 3), 3) == "ttssstsss"


@pytest.mark.parametrize("lengths", [(1, 0), (0, 1)])
def test_one_block_length_alone_is_refused(lengths: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="give both"):
        BlockSchedule.of(BlockOptions(*lengths))
