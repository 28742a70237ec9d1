from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import Dataset

from gancomp.data import loader
from gancomp.data.layout import scan
from gancomp.data.loader import batches, steps_per_epoch
from gancomp.data.paired import PairedImages
from gancomp.data.synthesis import SynthesisImages
from gancomp.data.unpaired import UnpairedImages
from gancomp.data.workers import one_ahead
from gancomp.errors import ConfigError, DataError

MakeImage = Callable[..., Path]


class Positions(Dataset[dict[str, Tensor]]):
    """Yields the index it was asked for."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: tuple[int, int]) -> dict[str, Tensor]:
        return {"index": torch.tensor(index)}


def indices(
    stream: Generator[dict[str, Tensor], None, None], count: int
) -> list[list[tuple[int, int]]]:
    result = [
        [(int(e), int(p)) for e, p in batch["index"]] for batch in itertools.islice(stream, count)
    ]
    stream.close()
    return result


lengths = st.integers(1, 12)
sizes = st.integers(1, 15)


@settings(max_examples=60)
@given(length=lengths, batch_size=sizes, seed=st.integers(0, 99), start=st.integers(0, 40))
def test_start_at_step_k_equals_the_rest_of_an_unbroken_run(
    length: int, batch_size: int, seed: int, start: int
) -> None:
    data = Positions(length)
    straight = indices(batches(data, batch_size=batch_size, seed=seed), start + 5)
    resumed = batches(data, batch_size=batch_size, seed=seed, start_step=start)
    assert indices(resumed, 5) == straight[start:]


@settings(max_examples=60)
@given(length=lengths, batch_size=sizes, seed=st.integers(0, 99))
def test_epoch_meets_every_position_at_most_once_and_drops_less_than_a_batch(
    length: int, batch_size: int, seed: int
) -> None:
    data = Positions(length)
    steps = steps_per_epoch(data, batch_size)
    met = indices(batches(data, batch_size=batch_size, seed=seed), 2 * steps)
    for epoch in (0, 1):
        drawn = [index for batch in met[epoch * steps : (epoch + 1) * steps] for index in batch]
        assert len(set(drawn)) == steps * batch_size
        assert {e for e, _ in drawn} == {epoch}
        files = [position % length for _, position in drawn]
        # a dataset smaller than the batch is gone through again and again, evenly
        assert max(files.count(i) for i in set(files)) <= -(-batch_size // length)
        assert len(set(files)) > length - batch_size
        assert batch_size < length or set(files) == set(range(length))


def test_order_differs_between_epochs_and_between_seeds() -> None:
    data = Positions(50)
    one = indices(batches(data, batch_size=50, seed=0), 2)
    other = indices(batches(data, batch_size=50, seed=1), 1)
    orders = [[position for _, position in batch] for batch in one + other]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(50))


@pytest.mark.parametrize(("length", "batch_size", "steps"), [(10, 3, 3), (9, 3, 3), (2, 5, 1)])
def test_steps_per_epoch_are_whole_batches_and_at_least_one(
    length: int, batch_size: int, steps: int
) -> None:
    assert steps_per_epoch(Positions(length), batch_size) == steps


def test_settings_out_of_range_are_refused_at_once() -> None:
    data = Positions(3)
    with pytest.raises(ConfigError, match="`batch_size` 0"):
        batches(data, seed=0, batch_size=0)
    with pytest.raises(ConfigError, match="`workers` -1"):
        batches(data, seed=0, batch_size=1, workers=-1)
    with pytest.raises(ConfigError, match="`workers` 1000000"):
        batches(data, seed=0, batch_size=1, workers=1_000_000)
    with pytest.raises(ConfigError, match="start step -1"):
        batches(data, seed=0, batch_size=1, start_step=-1)


def test_two_workers_and_a_resume_give_the_batches_of_none(unpaired_root: Path) -> None:
    data = UnpairedImages(scan(unpaired_root).train, size=16, load_size=20, seed=3)
    straight = list(itertools.islice(batches(data, batch_size=2, seed=3), 7))
    for workers, start in ((2, 0), (2, 3), (0, 3)):
        stream = batches(data, batch_size=2, seed=3, workers=workers, start_step=start)
        for expected in straight[start:]:
            batch = next(stream)
            assert batch.keys() == {"source", "target"}
            for role, tensor in batch.items():
                assert tensor.shape == (2, 3, 16, 16)
                assert torch.equal(tensor, expected[role])
        stream.close()


@pytest.mark.parametrize("kind", ["unpaired", "paired"])
@pytest.mark.parametrize("workers", [0, 2])
def test_cached_images_give_the_batches_of_images_read_anew_from_any_start(
    kind: str, workers: int, unpaired_root: Path, side_by_side_root: Path
) -> None:
    reader, root = {
        "unpaired": (UnpairedImages, unpaired_root),
        "paired": (PairedImages, side_by_side_root),
    }[kind]
    plain, cached = (
        reader(scan(root).train, size=16, load_size=20, seed=3, cached=cached)
        for cached in (False, True)
    )
    straight = list(itertools.islice(batches(plain, batch_size=2, seed=3), 12))
    for start in (0, 5):  # at first the cache is empty, then it is full
        stream = batches(cached, batch_size=2, seed=3, workers=workers, start_step=start)
        for expected, batch in zip(straight[start:], stream, strict=False):
            for role, tensor in batch.items():
                assert tensor.dtype == torch.float32
                assert torch.equal(tensor, expected[role])
        stream.close()


@pytest.mark.parametrize("cached", [False, True])
def test_labels_travel_with_their_images_whoever_reads_them(
    cached: bool, tmp_path: Path, make_image: MakeImage
) -> None:
    for index in range(9):
        make_image(tmp_path / "abc"[index % 3] / f"{index}.png")
    split = scan(tmp_path, task="synthesis").train
    plain = SynthesisImages(split, size=16, seed=3)
    straight = list(itertools.islice(batches(plain, batch_size=2, seed=3), 9))
    assert {int(label) for batch in straight for label in batch["label"]} == {0, 1, 2}
    for workers, start in ((0, 0), (2, 0), (2, 5)):
        data = SynthesisImages(split, size=16, seed=3, cached=cached)
        stream = batches(data, batch_size=2, seed=3, workers=workers, start_step=start)
        for expected in straight[start:]:
            batch = next(stream)
            assert batch.keys() == {"image", "label"}
            assert batch["image"].shape == (2, 3, 16, 16)
            assert batch["image"].dtype == torch.float32
            assert batch["label"].dtype == torch.int64
            assert all(torch.equal(batch[role], expected[role]) for role in batch)
        stream.close()


def test_what_workers_decode_is_in_the_cache_of_the_main_process(unpaired_root: Path) -> None:
    data = UnpairedImages(scan(unpaired_root).train, size=16, load_size=20, seed=3, cached=True)
    stream = batches(data, batch_size=5, seed=3, workers=2)
    for _ in range(4):
        next(stream)
    stream.close()
    assert data.cache is not None
    assert all(slot in data.cache for slot in range(8))
    for path in (*data.split.source, *data.split.target):
        path.unlink()
    assert data[9, 1].unreadable == ()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_that_are_not_forked_send_pixels_since_they_share_no_cache(
    method: str, unpaired_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = UnpairedImages(scan(unpaired_root).train, size=16, load_size=20, seed=3, cached=True)
    expected = list(itertools.islice(batches(data, batch_size=2, seed=3), 3))
    monkeypatch.setattr(loader, "start_method", lambda cached: method)
    stream = batches(data, batch_size=2, seed=3, workers=1)
    for batch in expected:
        found = next(stream)
        assert all(torch.equal(found[role], batch[role]) for role in batch)
    stream.close()


def test_loading_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    indices(batches(Positions(4), batch_size=2, seed=0), 5)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_file_is_named_once_over_many_epochs(
    unpaired_root: Path, workers: int, cached: bool
) -> None:
    split = scan(unpaired_root).train
    data = UnpairedImages(split, size=8, load_size=8, seed=0, cached=cached)
    data.split.source[2].write_bytes(b"")
    warnings: list[str] = []
    stream = batches(data, batch_size=5, seed=0, workers=workers, say=warnings.append)
    for _ in range(6):
        next(stream)
    stream.close()
    assert len(warnings) == 1
    assert "a2.png" in warnings[0]


@pytest.mark.parametrize("workers", [0, 1])
def test_strict_reading_raises_one_line_from_any_process(unpaired_root: Path, workers: int) -> None:
    data = UnpairedImages(scan(unpaired_root).train, size=8, load_size=8, seed=0, strict=True)
    data.split.source[2].write_bytes(b"")
    stream = batches(data, batch_size=5, seed=0, workers=workers)
    with pytest.raises(DataError, match=r"a2\.png: not a readable image") as caught:
        next(stream)
    assert "\n" not in str(caught.value)


class WorkerFacts(Positions):
    """Yields the reading process's id and its number of threads."""

    def __getitem__(self, index: tuple[int, int]) -> dict[str, Tensor]:
        return {"facts": torch.tensor([os.getpid(), torch.get_num_threads()])}


def wait_for_the_end_of(pids: set[int]) -> bool:
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_workers_use_one_thread_and_end_with_the_iterator() -> None:
    stream = batches(WorkerFacts(4), batch_size=1, seed=0, workers=2)
    facts = [next(stream)["facts"][0].tolist() for _ in range(4)]
    pids = {pid for pid, _ in facts}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert {threads for _, threads in facts} == {1}
    stream.close()
    assert wait_for_the_end_of(pids)


def test_workers_outlive_signals_that_reach_the_whole_process_group() -> None:
    stream = batches(WorkerFacts(4), batch_size=1, seed=0, workers=2)
    pids = {int(next(stream)["facts"][0, 0]) for _ in range(2)}
    for number in (
        "INT",
        "TERM",
        "HUP",
        "USR1",
        "USR2",
        "XCPU",
    ):  # from a process that is not the parent
        subprocess.run(["kill", f"-{number}", *map(str, pids)], check=True)
    time.sleep(0.1)
    assert {int(next(stream)["facts"][0, 0]) for _ in range(10)} == pids
    stream.close()
    assert wait_for_the_end_of(pids)


ENDINGS = {
    "an error": "raise RuntimeError",
    "exit": "sys.exit(1)",
    "interrupt while waiting": "signal.setitimer(signal.ITIMER_REAL, 0.3); "
    "signal.signal(signal.SIGALRM, signal.default_int_handler); [next(stream) for _ in range(9)]",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_program_that_ends_without_closing_its_loader_ends_at_once(ending: str) -> None:
    program = f"""
import signal, sys, time, torch
from gancomp.data.loader import batches
class Slow:
    def __len__(self): return 8
    def __getitem__(self, index):
        time.sleep(0.2 * (index[0] > 0))
        return {{"x": torch.zeros(1)}}
stream = batches(Slow(), batch_size=8, seed=0, workers=1)
next(stream)
{ENDINGS[ending]}
"""
    result = subprocess.run(
        [sys.executable, "-c", program], timeout=30, capture_output=True, check=False
    )
    assert result.returncode in (1, -signal.SIGINT, 130), result.stderr.decode()


def test_pairs_smaller_than_the_batch_repeat_with_new_crops(side_by_side_root: Path) -> None:
    data = PairedImages(scan(side_by_side_root).train, size=8, load_size=24, seed=0)
    batch = next(batches(data, batch_size=12, seed=0))
    assert len({image.numpy().tobytes() for image in batch["source"]}) == 12


class Fetched:
    """Counts what was fetched from it, each by which thread; the fourth is damaged."""

    def __init__(self) -> None:
        self.threads: list[str] = []
        self.processors: list[int] = []
        self.third = threading.Event()

    def __iter__(self) -> Fetched:
        return self

    def __next__(self) -> int:
        self.threads.append(threading.current_thread().name)
        self.processors.append(torch.get_num_threads())
        if len(self.threads) == 3:
            self.third.set()
        if len(self.threads) == 4:
            raise DataError("four.png: damaged")
        return len(self.threads)


def test_next_batch_is_fetched_in_a_thread_while_one_is_in_use() -> None:
    fetched = Fetched()
    ahead = one_ahead(fetched)
    assert [next(ahead), next(ahead)] == [1, 2]
    assert fetched.third.wait(10)  # nobody has asked for the third yet
    ahead.close()
    assert set(fetched.threads) == {"batches"}


def test_the_thread_that_fetches_ahead_leaves_the_other_processors_to_the_step() -> None:
    before, fetched = torch.get_num_threads(), Fetched()
    torch.set_num_threads(3)
    try:
        ahead = one_ahead(fetched)
        assert [next(ahead), next(ahead)] == [1, 2]
        ahead.close()
        assert fetched.processors == [1, 1, 1]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_error_of_a_batch_fetched_ahead_comes_when_that_batch_is_asked_for() -> None:
    ahead = one_ahead(Fetched())
    assert [next(ahead), next(ahead), next(ahead)] == [1, 2, 3]
    with pytest.raises(DataError, match="four"):
        next(ahead)
