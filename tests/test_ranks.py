"""Several processes train what one does: the same numbers, one voice, one end."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import rank_runs
import rank_steps
import tiny_runs
import torch
from lines import plug_ins_loaded
from torch import nn
from torch.distributed import HashStore

from gancomp.data.demo_set import write_demo_set
from gancomp.engine.checkpoint import list_checkpoints
from gancomp.engine.group import Group
from gancomp.engine.phases import Progress
from gancomp.errors import ConfigError
from gancomp.methods.base import Method
from gancomp.ranks import Ranks, refuse_uneven
from gancomp.registry import METHODS, ORIGINS, resolve
from gancomp.settings import RunSettings
from gancomp.training.ranks import share_work

CASES = [
    "dcd unpaired",
    "dcd paired, ResNet, BatchNorm, dropout",
    "dgl StyleGAN2, R1 and path lengths",
]
TOLERANCE = 1e-10  # of float64's 1e-16, after six steps of Adam


def ranks_of(rank: int, size: int) -> Ranks:
    ranks = Ranks()
    ranks.rank, ranks.size = rank, size
    return ranks


@pytest.mark.parametrize(("count", "parts", "size"), [(12, 1, 4), (12, 3, 2), (8, 2, 4)])
def test_ranks_have_equal_shares_of_every_part_and_all_of_them_together(
    count: int, parts: int, size: int
) -> None:
    shares = [ranks_of(rank, size).positions(count, parts) for rank in range(size)]
    assert sorted(sum(shares, [])) == list(range(count))
    assert {len(share) for share in shares} == {count // size}
    width = count // parts
    for share in shares:
        assert [position // width for position in share] == sorted(
            list(range(parts)) * (width // size)
        )


def test_ranks_that_cannot_share_evenly_repeat_the_last_behind_all_others() -> None:
    rows = [row for rank in range(4) for row in ranks_of(rank, 4).rows(6)]
    assert rows[:6] == list(range(6))
    assert set(rows[6:]) == {5}
    whole = torch.arange(6)
    assert torch.equal(torch.cat([ranks_of(rank, 4).own(whole) for rank in range(4)])[:6], whole)


def test_a_batch_that_cannot_be_shared_is_refused_with_the_numbers_that_can() -> None:
    refuse_uneven(12, 1, ranks_of(0, 4))
    with pytest.raises(ConfigError, match=r"use 10 or 15; or start 1, 2, 3, 4, 6 or 12 processes"):
        refuse_uneven(12, 1, ranks_of(0, 5))
    with pytest.raises(ConfigError, match=r"in 4 parts; use 8; or start 1 processes"):
        refuse_uneven(4, 4, ranks_of(0, 2))


def test_a_method_is_trained_by_one_process_unless_it_says_itself_that_ranks_may() -> None:
    with plug_ins_loaded():
        kinds: dict[str, type[Method]] = {
            name: resolve(METHODS, "method", name) for name in METHODS
        }
        silent = {name for name, kind in kinds.items() if not vars(kind).get("shared_by_ranks")}
        plug_ins = {name for line, name in ORIGINS if line == "methods"}
    assert silent == plug_ins

    class Heir(kinds["dcd"]):  # type: ignore[misc]  # a class found at run time
        """With terms of its own, perhaps."""

    assert Heir.why_one_process(Heir.__new__(Heir))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("steps")
    for size in (1, 2):
        assert rank_steps.run(size, CASES, out) == [0] * size
    return out


def made_by(trained: Path, name: str) -> list[dict[str, Any]]:
    """What one process made of a case, and the two that shared it."""
    by = ((1, 0), (2, 0), (2, 1))
    return [torch.load(trained / f"{size}-{rank}-{name}.pt") for size, rank in by]


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_come_to_the_weights_of_one_process(name: str, trained: Path) -> None:
    alone, first, second = (made["state"] for made in made_by(trained, name))
    assert rank_steps.difference(first, second)[0] == 0
    assert rank_steps.difference(alone, first)[0] < TOLERANCE


@pytest.mark.parametrize("name", CASES)
def test_a_phase_takes_one_collective_of_its_own_gradients_and_of_nothing_frozen(
    name: str, trained: Path
) -> None:
    _, first, second = (made["turns"] for made in made_by(trained, name))
    phases = rank_steps.built(rank_steps.cases()[name]).phases()
    sizes = [
        sum(item.numel() for item in phase.module.parameters())
        for step in range(rank_steps.STEPS)
        for phase in phases
        if phase.takes_part(Progress(step, 0, 1))
    ]
    assert first == second
    assert [num for num, _, _ in first] == sizes
    for num, notes, asked in first:
        assert asked == [(num + notes, torch.float64)]


def test_ranks_without_a_gradient_take_as_many_collectives_and_say_so(trained: Path) -> None:
    """In bf16 the gradients travel by themselves, beside what must not be rounded."""
    for rank in range(2):
        found, turns = torch.load(trained / f"2-{rank}.pt")
        for brief, (gradient, means, troubles) in found.items():
            expected = pytest.approx((1 / 3 + 1 / 4) / 2, rel=2**-7 if brief else 1e-15)
            assert gradient.tolist() == [expected] * 3
            assert (gradient[0].item() == (1 / 3 + 1 / 4) / 2) is not brief
            assert means.tolist() == [1, 0.5]
            assert torch.isnan(troubles).tolist() == [False, False, True]
        assert [asked for _, _, asked in turns] == [
            [(5, torch.bfloat16), (6, torch.float64)],
            [(11, torch.float64)],
        ]


def test_a_run_goes_on_by_another_number_of_ranks_to_the_same_weights(
    trained: Path, tmp_path: Path
) -> None:
    name = "dcd paired, ResNet, BatchNorm, dropout"
    handed_on = rank_steps.hand_on([2, 1, 3], name, tmp_path)
    assert rank_steps.difference(made_by(trained, name)[0]["state"], handed_on)[0] < TOLERANCE


def test_ranks_sum_in_bf16_if_that_is_asked_for() -> None:
    for asked, brief in (("bf16", True), ("fp32", False)):
        run = RunSettings(reduce_precision=asked)  # type: ignore[arg-type]  # one of the two
        ranks = ranks_of(0, 2)
        plan = SimpleNamespace(settings=SimpleNamespace(run=run))
        share_work(plan, nn.Identity(), ranks)  # type: ignore[arg-type]  # all that it looks at
        assert ranks.brief is brief


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toys")
    write_demo_set(root / "toys", size=32, train=5, test=2)
    return root / "toys"


def typed(toys: Path, out: Path, *more: str) -> list[str]:
    return tiny_runs.arguments(toys, out, "--batch-size", "2", "--rank-timeout", "60", *more)


def test_only_the_first_rank_speaks_and_writes_and_another_count_goes_on(
    toys: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    group = rank_runs.together(
        2, typed(toys, run, "--max-steps", "3", "--reduce-precision", "bf16")
    )
    assert group.wait() == [0, 0], group.said()
    first, second = group.said()
    assert f"written: {run}/student.safetensors" in first
    assert second == ""
    assert [path.name for path in list_checkpoints(run / "checkpoints")] == ["step_00000003"]
    alone = [item for item in typed(toys, run) if item not in ("--rank-timeout", "60")]
    status, said = tiny_runs.finish([*alone, "--max-steps", "4", "--resume"])
    assert status == 0, said
    assert tiny_runs.newest_step(run) == 4


def end_of(toys: Path, out: Path, **how: object) -> tuple[list[int], list[str]]:
    group = rank_runs.together(2, typed(toys, out), **how)  # type: ignore[arg-type]  # handed on
    if how.get("prepare") == {1: rank_runs.hold_in_step_4}:
        group.wait_for(out.parent / "asleep")
        group.send(1, signal.SIGTERM)
        (out.parent / "awake").touch()
    statuses = group.wait()
    first, second = group.said()
    assert second == ""
    return statuses, [
        line for line in first.splitlines() if not line.startswith(("step", "preset"))
    ]


@pytest.mark.parametrize(
    ("prepare", "status", "told", "step"),
    [
        (rank_runs.hold_in_step_4, 130, "stopped by SIGTERM (rank 1) after step 4; saved in", 4),
        (rank_runs.no_memory_in_step_3, 2, "rank 1: CUDA out of memory", 0),
    ],
)
def test_all_ranks_end_together_with_one_line_that_names_the_rank(
    prepare: Callable[[], None], status: int, told: str, step: int, toys: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    statuses, lines = end_of(toys, run, prepare={1: prepare})
    assert statuses == [status, status]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert told in lines[0]
    assert tiny_runs.newest_step(run) == step
    assert not list((run / "checkpoints").glob(".*"))


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a process of its parent's end"
)
def test_a_rank_ends_with_the_torchrun_that_started_it(tmp_path: Path) -> None:
    parent = rank_runs.context.Process(target=rank_runs.parent_that_waits, args=(tmp_path,))
    parent.start()
    wait_for((tmp_path / "child").exists)
    child = int((tmp_path / "child").read_text())
    assert rank_runs.alive(child)
    parent.kill()
    wait_for(lambda: not rank_runs.alive(child))


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + tiny_runs.PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_ranks_that_are_started_again_meet_each_other_not_what_was_left_of_others() -> None:
    store = HashStore()
    words = []
    for _ in range(2):  # the second time, all that the first ones said is there
        groups = []
        for rank in range(3):
            group = Group.__new__(Group)
            group.rank, group.size, group.timeout_s = rank, 3, 60.0
            groups.append(group)
        with ThreadPoolExecutor(3) as pool:
            met = list(pool.map(lambda group: group._met(store), reversed(groups)))
        assert len(set(met)) == 1
        words.append(met[0])
    assert words[0] != words[1]
