"""Several processes train what one does: the same numbers, one voice, one end."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import rank_runs
import rank_steps
import tiny_runs
import torch
from lines import plug_ins_loaded
from torch.distributed import HashStore

from gancomp.data.demo_set import write_demo_set
from gancomp.engine.checkpoint import list_checkpoints
from gancomp.engine.group import Group
from gancomp.errors import ConfigError
from gancomp.methods.base import Method
from gancomp.ranks import Ranks, refuse_uneven
from gancomp.registry import METHODS, ORIGINS, resolve

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
    untried = "agd crd dmad fitnet gan-compression mgd omgd reviewkd wavelet-kd"
    assert silent - plug_ins == set(untried.split())

    class Heir(kinds["dcd"]):  # type: ignore[misc]  # a class found at run time
        """With terms of its own, perhaps."""

    assert Heir.why_one_process(Heir.__new__(Heir))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("steps")
    for size in (1, 2):
        assert rank_steps.run(size, CASES, out) == [0] * size
    return out


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_come_to_the_weights_of_one_process(name: str, trained: Path) -> None:
    alone, first, second = (
        torch.load(trained / f"{size}-{rank}-{name}.pt")[0]
        for size, rank in ((1, 0), (2, 0), (2, 1))
    )
    assert rank_steps.difference(first, second)[0] == 0
    assert rank_steps.difference(alone, first)[0] < TOLERANCE


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
    group = rank_runs.together(2, typed(toys, run, "--max-steps", "3"))
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
