"""`gancomp data`: list, fetch from a server of our own, check."""

from __future__ import annotations

import functools
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from commands import contents, run_command
from PIL import Image

from gancomp.data import registered
from gancomp.data.demo_set import write_demo_set
from gancomp.data.registered import KNOWN_DATASETS, KnownDataset
from gancomp.recipes import data as data_recipe


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        return


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KnownDataset]:
    """A dataset called toy that a local server offers and that gancomp knows."""
    write_demo_set(tmp_path / "made", size=32, train=2, test=1)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted((tmp_path / "made").rglob("*.png")):
            archive.write(path, Path("toy") / path.relative_to(tmp_path / "made"))
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "toy.zip").write_bytes(buffer.getvalue())
    handler = functools.partial(Quiet, directory=str(tmp_path / "site"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    toy = KnownDataset(
        name="toy",
        task="unpaired",
        urls=(f"http://127.0.0.1:{server.server_port}/toy.zip",),
        counts={"trainA": 2, "trainB": 2, "testA": 1, "testB": 1},
        folder="toy",
        num_bytes=len(buffer.getvalue()),
        sha256=hashlib.sha256(buffer.getvalue()).hexdigest(),
        notes="drawn here",
    )
    for module in (registered, data_recipe):
        monkeypatch.setattr(module, "KNOWN_DATASETS", (toy,))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GANCOMP_DATA", raising=False)
    yield toy
    server.shutdown()
    server.server_close()


def test_list_has_a_row_for_every_known_dataset(capsys: pytest.CaptureFixture[str]) -> None:
    rows = run_command(capsys, "data", "list", "--json").document["datasets"]
    assert [row["name"] for row in rows] == [item.name for item in KNOWN_DATASETS]
    assert rows[0] == {
        "name": "horse2zebra",
        "task": "unpaired",
        "megabytes": 117,
        "images": "trainA 1067 trainB 1334 testA 120 testB 140",
        "notes": KNOWN_DATASETS[0].notes,
    }
    table = run_command(capsys, "data", "list")
    assert (table.status, table.err) == (0, "")
    assert all(item.name in table.out for item in KNOWN_DATASETS)
    lines = table.out.splitlines()
    assert all(f"{item.name}: {item.notes}" in lines for item in KNOWN_DATASETS)
    assert "None" not in table.out


def test_fetch_puts_a_verified_dataset_into_the_cache(
    served: KnownDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = run_command(capsys, "data", "fetch", "toy", "--json").document
    folder = tmp_path / "cache" / "gancomp" / "data" / "toy"
    assert document == {"folder": str(folder)}
    assert contents(folder) == contents(tmp_path / "made")
    # and from there it is found by its name
    report = run_command(capsys, "data", "check", "toy", "--json")
    assert report.status == 0
    assert report.document["task"] == "unpaired"


def test_fetch_puts_it_where_it_is_told_and_prints_the_folder_alone(
    served: KnownDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run_command(capsys, "data", "fetch", "toy", "--out", tmp_path / "here")
    assert outcome.out == f"{tmp_path / 'here'}\n"
    first, *progress = outcome.err.splitlines()
    assert first.startswith("downloading toy (")
    assert served.urls[0] in first
    assert progress
    assert progress[-1].startswith("toy: 100 %")
    assert contents(tmp_path / "here") == contents(tmp_path / "made")


def test_a_file_that_is_not_the_one_on_record_is_not_installed(
    served: KnownDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "site" / "toy.zip"
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    outcome = run_command(capsys, "data", "fetch", "toy", "--out", tmp_path / "here")
    assert (outcome.status, outcome.out) == (2, "")
    assert "damaged: sha256" in outcome.err
    assert "gancomp demo" in outcome.err
    assert not (tmp_path / "here").exists()


def test_check_says_fine_where_all_is_fine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_demo_set(tmp_path / "toy", size=32, train=2, test=1)
    outcome = run_command(capsys, "data", "check", tmp_path / "toy")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.endswith(f"{tmp_path / 'toy'}: fine, unpaired\n")
    report = run_command(capsys, "data", "check", tmp_path / "toy", "--json").document
    assert report["problems"] == []
    assert report["folders"]["trainA"]["num_images"] == 2


def test_check_names_every_bad_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_demo_set(tmp_path / "toy", size=32, train=2, test=1)
    (tmp_path / "toy" / "trainA" / "[bad].png").write_bytes(b"no image")
    outcome = run_command(capsys, "data", "check", tmp_path / "toy")
    assert outcome.status == 2
    assert "[bad].png" in outcome.out
    assert outcome.err.startswith("error: ")
    assert "[bad].png" in outcome.err


def test_check_takes_the_layout_that_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_demo_set(tmp_path / "toy", size=32, train=2, test=1)
    outcome = run_command(capsys, "data", "check", tmp_path / "toy", "--task", "paired", "--json")
    assert outcome.status == 2
    assert "--task unpaired" in outcome.document["problems"][0]


def test_check_shows_classes_and_cuts_a_long_list_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(12):
        folder = tmp_path / "zoo" / f"class{index:02d}"
        folder.mkdir(parents=True)
        Image.new("RGB", (8, 8), (index, 0, 0)).save(folder / "0.png")
    arguments = ["data", "check", tmp_path / "zoo", "--task", "synthesis"]
    outcome = run_command(capsys, *arguments)
    assert (outcome.status, outcome.err) == (0, "")
    shown = ", ".join(f"class{index:02d} (1)" for index in range(10))
    assert f"classes: 12: {shown}, ...\n" in outcome.out
    assert outcome.out.endswith("zoo: fine, synthesis\n")
    report = run_command(capsys, *arguments, "--json").document
    assert len(report["classes"]) == 12
    assert list(report["folders"]) == ["."]


def test_a_dataset_that_is_there_is_not_announced(
    served: KnownDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_command(capsys, "data", "fetch", "toy")
    assert run_command(capsys, "data", "fetch", "toy").err == ""


def test_check_announces_the_download_it_needs(
    served: KnownDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run_command(capsys, "data", "check", "toy", "--json")
    assert outcome.document["problems"] == []
    assert outcome.err.startswith("downloading toy (")


def test_checking_many_files_shows_progress_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_demo_set(tmp_path / "toy", size=32, train=8, test=2)
    assert run_command(capsys, "data", "check", tmp_path / "toy").err == ""
    assert data_recipe.MANY_FILES == 1000
    monkeypatch.setattr(data_recipe, "MANY_FILES", 10)
    lines = run_command(capsys, "data", "check", tmp_path / "toy").err.splitlines()
    assert lines == [f"checked {done} of 20 files" for done in range(2, 21, 2)]
