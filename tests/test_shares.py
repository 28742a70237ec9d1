"""Several processes share the images of a command: one voice, one result, that of one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import contents, write_model, write_scored
from PIL import Image
from rank_commands import (
    Ran,
    Typed,
    late_sigterm,
    out_of_memory,
    run_all,
    second_thoughts,
    sigkill,
    sigterm,
)

from gancomp.__main__ import refuse_ranks
from gancomp.errors import ConfigError
from gancomp.ranks import Ranks

STYLE = {"resolution": 16, "style_channels": 8, "mapping_layers": 1, "const_channels": 8}
ALIKE = [
    "eval-fid --real data/trainB --fake data/trainA --batch-size 2 --save-stats {size}.npz --json",
    "eval lone.safetensors --metrics fid,kid,precision,recall,density,coverage --pr-k 2 --dc-k 1 "
    "--batch-size 3 --bootstrap 20 --device cpu --json",
    "eval run --pairs targets --metrics psnr,ssim,fid --fake-split all --batch-size 2 --json",
    "eval run --pairs teacher --json",
    "eval style.safetensors --pairs style4.safetensors --metrics psnr,fid --num 7 --batch-size 2 "
    "--real data/trainA --mirror --json",
    "eval --fake paired/testA --real paired/testB --pairs files --json",
    "eval-sr sr.safetensors --dataset data/trainA --json",
    "translate lone.safetensors data/trainA data/testA -o translated-{size} --json",
    "generate style.safetensors -n 7 --batch-size 2 -o generated-{size} --json",
    "eval-fid --real data/trainB --fake data/trainA --batch-size 2",
]


def ranks_of(rank: int, size: int) -> Ranks:
    ranks = Ranks()
    ranks.rank, ranks.size = rank, size
    return ranks


@pytest.mark.parametrize(("count", "unit", "size"), [(260, 50, 3), (7, 2, 2), (3, 5, 4), (0, 1, 2)])
def test_shares_are_all_together_and_begin_where_one_process_begins_a_batch(
    count: int, unit: int, size: int
) -> None:
    shares = [ranks_of(rank, size).share(range(count), unit) for rank in range(size)]
    assert [item for share in shares for item in share] == list(range(count))
    assert all(share[0] % unit == 0 for share in shares if share)
    units = [-(-len(share) // unit) for share in shares]
    assert units == sorted(units)
    assert units[-1] - units[0] <= 1


@pytest.mark.parametrize("command", ["profile", "export", "sweep", "report"])
def test_other_commands_are_for_one_process(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": "h", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(ConfigError, match=f"2 processes .* {command} .* eval-sr, generate and tr"):
        refuse_ranks([command])
    refuse_ranks(["eval", "runs/latest"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datasets with unreadable pictures among them, and models of three kinds."""
    folder = tmp_path_factory.mktemp("shares")
    write_scored(folder, train=7, test=4, style=STYLE)
    for damaged in ("data/trainA", "data/trainB", "data/testA", "paired/testB"):
        files = sorted((folder / damaged).iterdir())
        for file in files[-2:-1] + files[1:2] * (len(files) > 4):
            file.write_bytes(b"no picture")
    entries: dict[str, Any] = {"task": "super-resolution", "settings": {"blocks": 1}}
    write_model(folder / "sr.safetensors", "srresnet", **entries)
    return folder


@pytest.fixture(scope="module")
def ran(folder: Path) -> dict[int, list[list[Ran]]]:
    return {size: run_all(size, folder, [Typed(line) for line in ALIKE]) for size in (1, 2)}


@pytest.mark.parametrize("number", range(len(ALIKE)))
def test_two_ranks_print_what_one_process_prints(
    number: int, ran: dict[int, list[list[Ran]]]
) -> None:
    (alone,), (first, second) = ran[1][number], ran[2][number]
    assert alone.status == 0, alone.err
    assert (first.status, second.status) == (0, 0), first.err
    assert first.out.replace("ed-2/", "ed-1/") == alone.out
    assert first.err.replace("ed-2", "ed-1") == alone.err
    assert (second.out, second.err) == ("", "")


def test_two_ranks_write_the_files_of_one_process(
    folder: Path, ran: dict[int, list[list[Ran]]]
) -> None:
    assert ran.keys() == {1, 2}
    for name, count in (("translated", 8), ("generated", 8)):
        alone, shared = contents(folder / f"{name}-1"), contents(folder / f"{name}-2")
        assert alone == shared
        assert len(alone) == count
    assert contents(folder / "cache-1") == contents(folder / "cache-2")
    assert (folder / "1.npz").read_bytes() == (folder / "2.npz").read_bytes()
    assert not [path for path in folder.rglob(".gancomp-*")]


TRANSLATE = "translate lone.safetensors data/{0} -o out/{1} --device cpu"
FAULTS = [
    (Typed(TRANSLATE.format("testA", "strict --strict")), 2, "rank 1: data/testA/"),
    (Typed("eval-fid --real data/testB --fake data/trainA --strict"), 2, "rank 1: data/trainA/"),
    (Typed("eval-fid --real nowhere --fake data/testB"), 2, "--real nowhere: no such folder"),
    (Typed(TRANSLATE.format("testB", "memory"), out_of_memory), 2, "rank 1: not enough memory"),
    (Typed(TRANSLATE.format("testB", "term"), sigterm), 130, "interrupted by SIGTERM (rank 1)"),
    (Typed(TRANSLATE.format("testB", "late"), late_sigterm), 130, "interrupted (rank 1)"),
    (Typed(TRANSLATE.format("testB", "leave"), second_thoughts), 130, "interrupted (rank 1)"),
    (
        Typed(TRANSLATE.format("testB", "kill"), sigkill),
        2,
        "rank 1 ended, or did not answer within 1800 s; start the command again",
    ),
]


@pytest.fixture(scope="module")
def failed(folder: Path) -> list[list[Ran]]:
    return run_all(2, folder, [typed for typed, _, _ in FAULTS])


@pytest.mark.parametrize("number", range(len(FAULTS)))
def test_all_end_with_one_line_if_one_of_them_cannot_go_on(
    number: int, failed: list[list[Ran]]
) -> None:
    (typed, status, told), (first, second) = FAULTS[number], failed[number]
    assert first.status == status, first.err
    assert second.status == (None if typed.happens is sigkill else status)
    (line,) = [line for line in first.err.splitlines() if not line.startswith("warning")]
    assert line.startswith(f"error: {told}")
    assert (first.out, second.out, second.err) == ("", "", "")


def test_what_is_left_of_a_command_that_failed_is_whole(
    folder: Path, failed: list[list[Ran]]
) -> None:
    assert len(failed) == len(FAULTS)
    assert not [path for path in folder.rglob(".gancomp-*")]
    pictures = list((folder / "out").rglob("*.png"))
    for path in pictures:
        with Image.open(path) as image:
            image.load()
    assert pictures
