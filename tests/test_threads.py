from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from gancomp.errors import ConfigError
from gancomp.threads import compute_on, thread_pool


@pytest.fixture
def two_processors() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_processors")
def test_threads_of_a_pool_compute_on_one_processor_and_all_others_as_before() -> None:
    with thread_pool(3, "helper") as pool, ThreadPoolExecutor(1) as later:
        # computing anything makes a thread look up how many processors it may use
        counts = {pool.submit(_processors_of_a_sum) for _ in range(9)}
        assert {count.result() for count in counts} == {1}
        assert _processors_of_a_sum() == 2
        assert later.submit(_processors_of_a_sum).result() == 2


@pytest.mark.usefixtures("two_processors")
def test_threads_that_started_end_where_the_next_one_cannot_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start, started = threading.Thread.start, []

    def one_only(thread: threading.Thread) -> None:
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", one_only)
    with pytest.raises(RuntimeError, match="can't start"):
        thread_pool(2)
    started[0].join(10)
    assert not started[0].is_alive()
    assert torch.get_num_threads() == 2


def _processors_of_a_sum() -> int:
    torch.ones(100_000).sum()
    return torch.get_num_threads()


@pytest.mark.parametrize("number", [0, -1, 1_000_000, 10**30])
def test_threads_that_no_system_survives_are_refused(number: int) -> None:
    before = torch.get_num_threads()
    with pytest.raises(ConfigError, match=f"`threads` {number}: use 1 to"):
        compute_on(number)
    assert torch.get_num_threads() == before
