from __future__ import annotations

import fcntl
import hashlib
import io
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gancomp.data import download
from gancomp.data.download import fetch
from gancomp.data.registered import KNOWN_DATASETS, KnownDataset, find_known
from gancomp.errors import DataError

COUNTS = {"trainA": 3, "trainB": 2}


def archive_bytes(kind: str = "zip", *, extra: str | None = None) -> bytes:
    members = {f"toy/{f}/{i}.png": os.urandom(3000) for f, n in COUNTS.items() for i in range(n)}
    if extra is not None:
        members[extra] = b"extra"
    file = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as zipped:
            for name, content in members.items():
                zipped.writestr(name, content)
    else:
        with tarfile.open(fileobj=file, mode="w:gz") as tarred:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tarred.addfile(info, io.BytesIO(content))
    return file.getvalue()


class Server(ThreadingHTTPServer):
    """Serves `content` at every address; `faults` are used up one per request."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.faults: list[str] = []
        self.ranges: list[str | None] = []

    def dataset(self) -> KnownDataset:
        return KnownDataset(
            name="toy",
            task="unpaired",
            urls=(f"http://127.0.0.1:{self.server_port}/toy.zip",),
            counts=COUNTS,
            folder="toy",
            notes="",
            num_bytes=len(self.content),
            sha256=hashlib.sha256(self.content).hexdigest(),
        )


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        content, asked = self.server.content, self.headers["Range"]
        self.server.ranges.append(asked)
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault.isdigit():
            self.send_error(int(fault))
            return
        if fault.startswith("location "):
            self.send_response(302)
            self.send_header("Location", fault.removeprefix("location "))
            self.end_headers()
            return
        match = re.fullmatch(r"bytes=(\d+)-", asked or "")
        first = int(match[1]) if match and fault != "ignore range" else 0
        if first >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        if fault.startswith("length "):
            self.send_header("Content-Length", fault.removeprefix("length "))
        elif fault != "no length":
            self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        end = first + 4000 if fault in ("cut", "stall") else len(content)
        self.wfile.write(content[first:end])
        if fault == "stall":
            time.sleep(1)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    served = Server(archive_bytes())
    thread = threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield served
    served.shutdown()
    served.server_close()


def quick(dataset: KnownDataset, destination: Path, attempts: int = 3) -> Path:
    return fetch(dataset, destination, attempts=attempts, pause_s=0.001, timeout_s=2)


def assert_whole(folder: Path) -> None:
    assert {f: len(list((folder / f).iterdir())) for f in COUNTS} == COUNTS
    left = sorted(path.name for path in folder.parent.iterdir())
    assert left == [f".{folder.name}.lock", folder.name]


def test_download_is_unpacked_in_place_and_leaves_nothing_beside_it(
    server: Server, tmp_path: Path
) -> None:
    calls: list[tuple[int, int | None]] = []
    folder = fetch(
        server.dataset(),
        tmp_path / "deep" / "toy",
        progress=lambda done, total: calls.append((done, total)),
    )
    assert_whole(folder)
    assert calls[-1] == (len(server.content), len(server.content))
    fetch(server.dataset(), folder)
    assert len(server.ranges) == 1  # the second call had nothing to ask for


def test_tar_known_by_md5_and_without_a_size_is_fetched(server: Server, tmp_path: Path) -> None:
    server.content = archive_bytes("tar")
    md5 = hashlib.md5(server.content, usedforsecurity=False).hexdigest()
    dataset = replace(server.dataset(), num_bytes=None, sha256=None, md5=md5)
    server.faults = ["cut"]
    assert_whole(quick(dataset, tmp_path / "toy"))
    assert server.ranges == [None, "bytes=4000-"]


def test_dropped_connections_are_resumed_as_long_as_something_arrives(
    server: Server, tmp_path: Path
) -> None:
    server.faults = ["cut", "cut", "503", "cut"]
    assert_whole(quick(server.dataset(), tmp_path / "toy", attempts=2))
    assert server.ranges == [None, *(f"bytes={n}-" for n in (4000, 8000, 8000, 12000))]


def test_part_of_an_earlier_process_is_continued(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".toy.part").write_bytes(server.content[:5000])
    assert_whole(quick(server.dataset(), tmp_path / "toy"))
    assert server.ranges == ["bytes=5000-"]


def test_complete_part_needs_no_request_if_the_size_is_known_and_one_if_not(
    server: Server, tmp_path: Path
) -> None:
    for name, num_bytes, ranges in (
        ("a", len(server.content), []),
        ("b", None, [f"bytes={len(server.content)}-"]),
    ):
        server.ranges.clear()
        (tmp_path / name).mkdir()
        (tmp_path / name / ".toy.part").write_bytes(server.content)
        assert_whole(quick(replace(server.dataset(), num_bytes=num_bytes), tmp_path / name / "toy"))
        assert server.ranges == ranges


def test_part_that_is_longer_than_the_file_is_started_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".toy.part").write_bytes(server.content + b"more")
    assert_whole(quick(replace(server.dataset(), num_bytes=None), tmp_path / "toy"))


def test_server_that_ignores_ranges_is_read_from_the_start(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".toy.part").write_bytes(b"x" * 5000)
    server.faults = ["ignore range"]
    assert_whole(quick(server.dataset(), tmp_path / "toy"))
    assert len(server.ranges) == 1


def test_part_of_another_version_is_thrown_away_and_fetched_anew(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / ".toy.part").write_bytes(b"x" * 5000)
    assert_whole(quick(server.dataset(), tmp_path / "toy"))
    assert server.ranges == ["bytes=5000-", None]


def test_wrong_checksum_deletes_the_part_and_says_both_sums(server: Server, tmp_path: Path) -> None:
    dataset = replace(server.dataset(), sha256="0" * 64)
    with pytest.raises(DataError, match=r"damaged: sha256 [0-9a-f]{64}, 0{64} is on record"):
        quick(dataset, tmp_path / "toy")
    assert [path.name for path in tmp_path.iterdir()] == [".toy.lock"]
    assert len(server.ranges) == 1


@pytest.mark.parametrize(
    ("difference", "reason"), [(-1, "sent more than the"), (1, r"has \d+ bytes, \d+ are on record")]
)
def test_wrong_size_without_an_announced_length_is_noticed(
    server: Server, tmp_path: Path, difference: int, reason: str
) -> None:
    server.faults = ["no length"]
    dataset = replace(server.dataset(), num_bytes=len(server.content) + difference)
    with pytest.raises(DataError, match=reason):
        quick(dataset, tmp_path / "toy")
    assert not (tmp_path / ".toy.part").exists()


def test_second_address_is_tried_when_the_first_has_another_file(
    server: Server, tmp_path: Path
) -> None:
    good = server.dataset()
    other = Server(archive_bytes())
    threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
    dataset = replace(good, urls=(other.dataset().urls[0], good.urls[0]))
    assert len(other.content) == len(server.content)
    assert_whole(quick(dataset, tmp_path / "toy"))
    other.shutdown()
    other.server_close()


def test_missing_file_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    server.faults = ["404"] * 9
    with pytest.raises(DataError, match=r"toy\.zip: HTTP 404"):
        quick(server.dataset(), tmp_path / "toy")
    assert len(server.ranges) == 1


def test_page_of_another_size_does_not_cost_the_part(server: Server, tmp_path: Path) -> None:
    dataset = server.dataset()
    (tmp_path / ".toy.part").write_bytes(server.content[:5000])
    server.content = b"<html>log in first</html>"
    server.faults = ["ignore range"] * 9
    with pytest.raises(DataError, match=r"offers 25 bytes.*arrived \(5000 bytes\) is kept"):
        quick(dataset, tmp_path / "toy")


def test_offline_error_names_the_address_and_the_ways_out(server: Server, tmp_path: Path) -> None:
    dataset = server.dataset()
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match=r"http://127.*refused.*\$GANCOMP_DATA/toy.*gancomp demo"):
        quick(dataset, tmp_path / "toy")


def test_silent_connection_is_left_after_the_timeout_and_what_came_is_kept(
    server: Server, tmp_path: Path
) -> None:
    server.faults = ["stall"]
    fetch(server.dataset(), tmp_path / "toy", timeout_s=0.2, pause_s=0.001)
    assert_whole(tmp_path / "toy")
    assert server.ranges == [None, "bytes=4000-"]


def test_full_disk_is_reported_with_the_way_out(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".toy.part").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"\.toy\.part: the disk is full"):
        quick(server.dataset(), tmp_path / "toy")


def test_cache_that_cannot_be_made_is_reported(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file: cannot be written \(File exists\)"):
        quick(server.dataset(), tmp_path / "file" / "toy")


@pytest.mark.parametrize("extra", ["../evil", "/evil"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_evil_archive_installs_nothing(
    server: Server, tmp_path: Path, kind: str, extra: str
) -> None:
    server.content = archive_bytes(kind, extra=extra)
    with pytest.raises(DataError, match="does not stay in its folder"):
        quick(server.dataset(), tmp_path / "toy")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".toy.lock", ".toy.part"]


def test_archive_with_missing_images_installs_nothing(server: Server, tmp_path: Path) -> None:
    dataset = replace(server.dataset(), counts={"trainA": 4})
    with pytest.raises(DataError, match="trainA/ has 3 images, toy has 4; nothing was installed"):
        quick(dataset, tmp_path / "toy")
    assert not (tmp_path / "toy").exists()


def test_folder_of_that_name_with_other_content_is_left_alone(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "mine.txt").touch()
    with pytest.raises(DataError, match="trainA/ has 0 images, toy has 3; move the folder away"):
        quick(server.dataset(), tmp_path / "toy")
    assert (tmp_path / "toy" / "mine.txt").exists()


KILLED_WHILE_UNPACKING = """
import os, signal, sys
from pathlib import Path
from gancomp.data import download, unpack
from gancomp.data.registered import KnownDataset
def copy_and_die(self, source, target, copy=unpack._Budget.copy):
    copy(self, source, target)
    if target.name == "1.png":
        os.kill(os.getpid(), signal.SIGKILL)
unpack._Budget.copy = copy_and_die
download.fetch(eval(sys.argv[1]), Path(sys.argv[2]))
"""


def test_process_killed_while_unpacking_is_made_good_by_the_next(
    server: Server, tmp_path: Path
) -> None:
    arguments = [KILLED_WHILE_UNPACKING, repr(server.dataset()), str(tmp_path / "toy")]
    killed = subprocess.run([sys.executable, "-c", *arguments], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / ".toy.unpacking").is_dir()
    assert not (tmp_path / "toy").exists()
    assert_whole(quick(server.dataset(), tmp_path / "toy"))
    assert len(server.ranges) == 1  # the verified archive was still there


def test_second_process_says_that_it_waits_and_then_finds_the_folder(
    server: Server, tmp_path: Path
) -> None:
    warnings: list[str] = []
    with (tmp_path / ".toy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = threading.Thread(
            target=fetch,
            args=(server.dataset(), tmp_path / "toy"),
            kwargs={"say": warnings.append},
        )
        waiting.start()
        deadline = time.monotonic() + 10
        while not warnings and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "another process" in warnings[0]
        assert server.ranges == []
    waiting.join(timeout=10)
    assert_whole(tmp_path / "toy")


def test_every_known_dataset_can_be_verified_and_is_found_by_all_its_names() -> None:
    assert KNOWN_DATASETS
    for dataset in KNOWN_DATASETS:
        assert dataset.urls
        assert len(dataset.sha256 or "") == 64 or len(dataset.md5 or "") == 32
        assert dataset.task == ("paired" if "train" in dataset.counts else "unpaired")
        for name in (dataset.name, *dataset.aliases):
            assert find_known(name) is dataset
    assert find_known("cats2dogs") is None


@pytest.mark.parametrize("length", ["abc", "\xb2", "-5", "9" * 5000, "1e3", ""])
def test_a_length_that_is_no_number_is_no_length(
    length: str, server: Server, tmp_path: Path
) -> None:
    server.faults = [f"length {length}"] * 4
    assert_whole(quick(server.dataset(), tmp_path / "toy"))


@pytest.mark.parametrize(
    "address",
    [
        "http://[::1",
        "http://" + "a" * 70 + ".example/",
        "http://\xfc\xdf\x80/",
        "http://a:b/",
        "http://127.0.0.1:999999/",
        "http://..//",
    ],
)
def test_an_address_that_makes_no_sense_is_one_line(
    address: str, server: Server, tmp_path: Path
) -> None:
    server.faults = [f"location {address}"] * 4
    with pytest.raises(DataError, match=r"toy\.zip: ") as caught:
        quick(server.dataset(), tmp_path / "toy")
    assert "\n" not in str(caught.value)


def test_download_of_unknown_size_is_reported_every_100_mb() -> None:
    said: list[str] = []
    tell = download.each_tenth(said.append, "pairs")
    for megabytes in (50, 99, 100, 150, 310):
        tell(megabytes * 1_000_000, None)
    assert said == ["pairs: 100 MB", "pairs: 310 MB"]


def test_resumed_download_goes_on_from_the_tenth_it_had() -> None:
    said: list[str] = []
    tell = download.each_tenth(said.append, "toy")
    for percent in (47, 48, 52):
        tell(percent * 1_000_000, 100_000_000)
    assert said == ["toy: 47 % of 100 MB", "toy: 52 % of 100 MB"]
