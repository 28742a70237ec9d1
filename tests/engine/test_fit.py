from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from fit_loops import Toy, Watch, batches, losses, make_loop, metrics, newest, state, train
from tiny_runs import assert_equal
from torch import Tensor

from gancomp.engine import fit as engine
from gancomp.engine import waits
from gancomp.engine.fit import fit
from gancomp.engine.phases import Progress, Step
from gancomp.engine.run import RunFolder
from gancomp.engine.step import FiniteWatch
from gancomp.engine.stopping import InterruptedRunError, StopWish, listening_for_stop
from gancomp.errors import CheckpointError, DataError, RunError, TrainingError


@pytest.mark.parametrize("stop_at", range(1, 12))
def test_resume_after_k_of_12_steps_equals_12_straight_steps_bit_for_bit(
    stop_at: int, tmp_path: Path
) -> None:
    train(tmp_path / "straight")
    train(tmp_path / "broken", max_steps=stop_at)
    torch.rand(stop_at)  # whatever else draws from the global generator in between
    outcome = train(tmp_path / "broken")
    assert outcome.step == outcome.num_images // 2 == 12
    straight, broken = state(tmp_path / "straight"), state(tmp_path / "broken")
    assert straight[0] == broken[0] == 12
    assert_equal(straight[1], broken[1])
    assert losses(tmp_path / "broken") == losses(tmp_path / "straight")


def test_training_leaves_the_callers_random_state_alone(tmp_path: Path) -> None:
    one, two = Toy(), Toy()
    before = torch.get_rng_state()
    train(tmp_path, one, max_steps=3)
    train(tmp_path, two, max_steps=6)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_seed_decides_what_dropout_drops(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(tmp_path / name, seed=seed, max_steps=2)
    assert losses(tmp_path / "a") == losses(tmp_path / "b") != losses(tmp_path / "c")


def test_lines_of_steps_taken_again_do_not_occur_twice(tmp_path: Path) -> None:
    toy = Toy()
    toy.spoil = ("first", 5)
    with pytest.raises(TrainingError):
        train(tmp_path, toy, checkpoint_every=3)
    assert [record["step"] for record in metrics(tmp_path)] == [1, 2, 3, 4, 5]
    train(tmp_path, checkpoint_every=3)
    assert [record["step"] for record in metrics(tmp_path)] == list(range(1, 13))


def test_lines_from_before_the_first_checkpoint_do_not_occur_twice(tmp_path: Path) -> None:
    toy = Toy()
    toy.spoil = ("first", 3)
    with pytest.raises(TrainingError):
        train(tmp_path, toy, checkpoint_every=100)
    assert [record["step"] for record in metrics(tmp_path)] == [1, 2, 3]
    train(tmp_path, checkpoint_every=100)
    assert [record["step"] for record in metrics(tmp_path)] == list(range(1, 13))


def test_a_phase_has_its_turn_only_in_its_steps_and_each_step_has_its_own_batch(
    tmp_path: Path,
) -> None:
    toy = Toy()
    train(tmp_path, toy, max_steps=4)
    assert [item[:2] for item in toy.seen] == [
        ("first", 0), ("second", 0), ("first", 1), ("first", 2), ("second", 2), ("first", 3)
    ]  # fmt: skip
    for _, index, batch in toy.seen:
        assert torch.equal(batch, next(batches(index))["source"])


@pytest.mark.parametrize("phase", ["first", "second"])
def test_a_non_finite_term_is_named_and_its_phase_changes_nothing(
    phase: str, tmp_path: Path
) -> None:
    toy = Toy()
    toy.spoil = (phase, 4)
    with pytest.raises(TrainingError, match=f"step 5: {phase}/style = nan") as info:
        train(tmp_path, toy)
    assert "fit" not in str(info.value)
    assert "\n" not in str(info.value)
    step, saved = state(tmp_path)
    assert step == 4
    for name in {"first": ("first", "second"), "second": ("second",)}[phase]:
        for key, value in toy.networks()[name].state_dict().items():
            assert torch.equal(value, saved["networks"][name][key]), (name, key)
    assert all(
        torch.isfinite(torch.tensor(list(record["losses"].values()))).all()
        for record in metrics(tmp_path)
    )
    straight = tmp_path / "straight"
    train(straight)
    train(tmp_path)
    assert_equal(state(tmp_path)[1], state(straight)[1])


@pytest.mark.parametrize(
    ("bad_step", "log_every", "saved"),
    [(5, 1, 4), (5, 100, 4), (6, 100, 4), (7, 100, 6), (12, 100, 10)],
)
def test_looking_late_a_bad_step_is_neither_logged_nor_saved(
    bad_step: int, log_every: int, saved: int, tmp_path: Path
) -> None:
    toy = Toy()
    toy.spoil = ("first", bad_step - 1)
    sampled: list[int] = []
    loop = make_loop(tmp_path, toy, log_every=log_every)
    loop.periodic.append(engine.Periodic(3, sampled.append))
    loop.watch = FiniteWatch(late=True)
    with pytest.raises(TrainingError, match=f"^step {bad_step}: first/style = nan"):
        fit(loop, checkpoint=None, stop=StopWish())
    assert state(tmp_path)[0] == saved
    assert max(record["step"] for record in metrics(tmp_path)) == (4 if log_every == 1 else 1)
    assert sampled == list(range(3, bad_step, 3))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_parameter_that_became_non_finite_is_not_saved(value: float, tmp_path: Path) -> None:
    toy = Toy()

    class Spoiling(Watch):
        def advance(self, record: dict[str, Any]) -> None:
            if record["step"] == 4:
                with torch.no_grad():
                    toy.second.bias.fill_(value)

    with pytest.raises(TrainingError, match="step 4: second.bias became non-finite"):
        train(tmp_path, toy, view=Spoiling())
    assert state(tmp_path)[0] == 2


def test_a_signal_ends_the_run_after_the_step_with_everything_saved(tmp_path: Path) -> None:
    train(tmp_path / "straight")
    view = Watch(signal_at=5)
    loop = make_loop(tmp_path / "run", Toy(), view=view, checkpoint_every=100)
    with listening_for_stop() as stop, pytest.raises(InterruptedRunError) as info:
        fit(loop, checkpoint=None, stop=stop)
    assert "SIGTERM after step 5; saved in" in str(info.value)
    assert "\n" not in str(info.value)
    assert view.finished == 1
    assert state(tmp_path / "run")[0] == 5
    train(tmp_path / "run")
    assert_equal(state(tmp_path / "run")[1], state(tmp_path / "straight")[1])
    assert losses(tmp_path / "run") == losses(tmp_path / "straight")


def test_a_signal_before_the_first_step_leaves_nothing_to_be_sorry_for(tmp_path: Path) -> None:
    stop = StopWish()
    stop.note(signal.SIGINT, None)
    with pytest.raises(InterruptedRunError, match="after step 0"):
        fit(make_loop(tmp_path, Toy()), checkpoint=None, stop=stop)
    assert newest(tmp_path) is None


def test_max_time_ends_with_a_save_and_counts_each_sitting_anew(tmp_path: Path) -> None:
    assert train(tmp_path, max_seconds=1e-9, checkpoint_every=100).step == 1
    assert state(tmp_path)[0] == 1
    assert train(tmp_path, max_seconds=1e-9, checkpoint_every=100).step == 2
    assert train(tmp_path, max_seconds=3600.0).step == 12


def test_max_steps_counts_all_sittings_and_may_be_raised_or_lowered(tmp_path: Path) -> None:
    assert train(tmp_path, max_steps=5).step == 5
    assert train(tmp_path, max_steps=4).step == 5
    assert train(tmp_path, max_steps=7).step == 7
    assert train(tmp_path, max_steps=10**9).step == 12
    assert [record["step"] for record in metrics(tmp_path)] == list(range(1, 13))


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    train(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "checkpoints").rglob("*")}
    toy = Toy()
    assert train(tmp_path, toy).step == 12
    assert not toy.seen
    assert {
        path: path.stat().st_mtime_ns for path in (tmp_path / "checkpoints").rglob("*")
    } == before


def test_the_learning_rate_follows_the_epoch_also_after_a_resume(tmp_path: Path) -> None:
    train(tmp_path, max_steps=7)
    train(tmp_path)
    rates = [record["lr"]["first"] / 0.01 for record in metrics(tmp_path)]
    assert all(  # each phase has a rate of its own, and one schedule for all
        record["lr"]["second"] == pytest.approx(3 * record["lr"]["first"])
        for record in metrics(tmp_path)
        if record["step"] % 2
    )
    # 3 steps an epoch: 2 constant epochs, then 1 - 1/3 and 1 - 2/3
    assert rates == pytest.approx([1] * 6 + [2 / 3] * 3 + [1 / 3] * 3)


def test_a_checkpoint_of_other_networks_is_refused_in_one_line(tmp_path: Path) -> None:
    train(tmp_path, max_steps=2)
    with pytest.raises(CheckpointError, match="does not fit this run's networks") as info:
        train(tmp_path, Toy(width=4))
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    "path",
    [
        ("networks",),
        ("optimizers", "first"),
        ("optimizers", "first", "param_groups"),
        ("optimizers", "first", "param_groups", 0, "lr"),
        ("optimizers", "first", "state", 0, "exp_avg"),
        ("rng", "cpu"),
        ("outcome",),
        ("outcome", "seconds"),
    ],
)
@pytest.mark.parametrize("value", [torch.zeros(7), "text", None, [[]]])
def test_a_checkpoint_whose_values_are_of_another_kind_is_refused(
    path: tuple[Any, ...], value: Any, tmp_path: Path
) -> None:
    train(tmp_path, max_steps=2)
    checkpoint = newest(tmp_path)
    assert checkpoint is not None
    inner: Any = checkpoint.state
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(CheckpointError, match="does not fit this run's networks") as info:
        engine.restore(Toy(), checkpoint, torch.device("cpu"))
    assert "\n" not in str(info.value)


def test_a_checkpoint_whose_optimizer_lacks_an_average_is_refused(tmp_path: Path) -> None:
    train(tmp_path, max_steps=2)
    checkpoint = newest(tmp_path)
    assert checkpoint is not None
    del checkpoint.state["optimizers"]["first"]["state"][0]["exp_avg_sq"]
    with pytest.raises(CheckpointError, match="an optimizer lacks some of"):
        engine.restore(Toy(), checkpoint, torch.device("cpu"))


def test_a_full_disk_in_metrics_is_one_line_and_the_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path, max_steps=4)
    lines = (tmp_path / "metrics.jsonl").read_text()
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    monkeypatch.setattr(RunFolder, "forget_metrics_after", lambda *_: None)
    with pytest.raises(RunError, match=r"metrics.jsonl: not written, the disk is full"):
        train(tmp_path)
    assert state(tmp_path)[0] == 5  # the step was taken, even if its line is lost
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "metrics.jsonl").write_text(lines)
    monkeypatch.undo()
    train(tmp_path)
    train(tmp_path / "straight")
    assert losses(tmp_path) == [item for item in losses(tmp_path / "straight") if item[0] != 5]


def test_progress_is_told_from_the_start_and_every_line_once(tmp_path: Path) -> None:
    view = Watch()
    train(tmp_path, view=view, max_steps=5, log_every=2)
    assert view.started == (5, 0)
    assert [record["step"] for record in view.records] == [1, 2, 4]
    assert view.finished == 1
    view = Watch()
    train(tmp_path, view=view)
    assert view.started == (12, 5)
    assert [record["epoch"] for record in view.records][:2] == [1, 2]
    assert make_loop(tmp_path, Toy()).progress(7) == Progress(step=7, epoch=2, num_epochs=4)


def test_terms_of_phases_that_skip_the_logged_steps_are_logged_too(tmp_path: Path) -> None:
    toy, view = Toy(), Watch()  # `second` has its turn in the odd steps, lines are for even ones
    train(tmp_path, toy, view=view, max_steps=6, log_every=2)
    assert [record["step"] for record in view.records] == [1, 2, 4, 6]
    for record in view.records[2:]:
        assert set(record["losses"]) == {"first/fit", "first/style", "second/fit", "second/style"}


class Listening(Watch):
    """A view that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def slow_batches(step: int, seconds: float) -> Iterator[dict[str, Tensor]]:
    for batch in batches(step):
        time.sleep(seconds)
        yield batch


def test_waiting_for_data_is_logged_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "WAIT_WARM_UP", 2)
    monkeypatch.setattr(waits, "WAIT_WINDOW", 3)
    monkeypatch.setattr(waits, "TOO_MUCH_WAIT", 0.01)
    view = Listening()
    loop = make_loop(tmp_path, Toy(), view=view, checkpoint_every=100)
    loop.batches = partial(slow_batches, seconds=0.02)
    outcome = fit(loop, checkpoint=None, stop=StopWish())
    shares = [record["data_wait"] for record in metrics(tmp_path)]
    assert len(shares) == 12
    assert all(0 < share < 1 for share in shares)
    assert 0 < outcome.data_wait < 1
    assert len(view.said) == 1
    assert all(word in view.said[0] for word in ("`workers`", "`cache`", "% of the time"))


@pytest.mark.parametrize(
    ("slow", "told"), [((), 0), (range(20), 0), (range(20, 120), 1), (range(50, 61), 1), ((55,), 0)]
)
def test_only_much_waiting_after_the_first_steps_is_told(slow: Sequence[int], told: int) -> None:
    said: list[str] = []
    watch, now = waits.WaitWatch(said.append, started=5.0), 5.0
    for step in range(400):
        wait = 1.2 if step in slow else 0.01  # beside steps of a second
        watch.waited += wait
        now += 1 + wait
        watch.step(now)
    assert len(said) == told


@pytest.mark.parametrize("where", ["batch", "action"])
def test_an_error_between_two_steps_leaves_with_a_save_and_the_run_goes_on_exactly(
    where: str, tmp_path: Path
) -> None:
    train(tmp_path / "straight")
    view = Watch()
    said: list[str] = []
    view.say = said.append  # type: ignore[method-assign]  # of this one
    loop = make_loop(tmp_path / "broken", Toy(), view=view, checkpoint_every=100)

    def broken(step: int) -> None:
        if step == 5:
            raise DataError("gone")

    def some(step: int) -> Iterator[dict[str, Tensor]]:
        for number, batch in enumerate(batches(step)):
            broken(number)
            yield batch

    if where == "batch":
        loop.batches = some
    else:
        loop.periodic.append(engine.Periodic(1, broken))
    with pytest.raises(DataError, match="gone"):
        fit(loop, checkpoint=None, stop=StopWish())
    assert state(tmp_path / "broken")[0] == 5
    assert said == ["saved after step 5; `resume=True` goes on from there"]
    train(tmp_path / "broken")
    assert_equal(state(tmp_path / "broken"), state(tmp_path / "straight"))


def test_an_error_within_a_step_saves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = Toy()
    original = toy.losses

    def losses(phase: str, step: Step) -> dict[str, Tensor]:
        if step.index == 5 and phase == "first":
            raise RuntimeError("out of memory")
        return original(phase, step)

    monkeypatch.setattr(toy, "losses", losses)
    with pytest.raises(RuntimeError, match="out of memory"):
        train(tmp_path, toy, checkpoint_every=4)
    assert state(tmp_path)[0] == 4


def test_a_signal_ends_a_wait_for_a_batch_that_never_comes(tmp_path: Path) -> None:
    def stalled(step: int) -> Iterator[dict[str, Tensor]]:
        yield from itertools.islice(batches(step), 3)
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        time.sleep(60)

    loop = make_loop(tmp_path, Toy(), checkpoint_every=100)
    loop.batches = stalled
    began = time.monotonic()
    with listening_for_stop() as stop, pytest.raises(InterruptedRunError, match="after step 3"):
        fit(loop, checkpoint=None, stop=stop)
    assert time.monotonic() - began < 30
    assert state(tmp_path)[0] == 3
