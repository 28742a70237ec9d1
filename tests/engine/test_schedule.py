from __future__ import annotations

import pytest

from gancomp.engine.schedule import decay_factor


def test_the_rate_is_constant_and_then_falls_linearly_as_in_the_released_code() -> None:
    # worked out by hand: 3 constant epochs, then 1 - k/5 for k = 1, 2, 3, 4
    factors = [decay_factor(epoch, epochs=3, decay_epochs=4) for epoch in range(7)]
    assert factors == pytest.approx([1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    # what OMGD's networks.get_scheduler gave, the step after the last epoch included
    factors = [decay_factor(epoch, epochs=4, decay_epochs=3) for epoch in range(8)]
    assert factors == [1, 1, 1, 1, 0.75, 0.5, 0.25, 0]


def test_without_constant_epochs_the_first_epoch_is_already_lower() -> None:
    assert decay_factor(0, epochs=0, decay_epochs=100) == pytest.approx(100 / 101)


def test_beyond_the_schedule_the_rate_is_zero_and_never_negative() -> None:
    assert decay_factor(1000, epochs=3, decay_epochs=4) == 0.0
