"""Where pages get their runtime from: a path, the environment, the cache, a verified download."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from web_runtimes import BYTES, stand_in

from gancomp.data.registered import RemoteFile
from gancomp.errors import ConfigError, DataError, GancompError
from gancomp.export.web_runtime import MODULE, REMOTE, VARIABLE, VERSION, WASM, find_runtime


def archive(names: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as file:
        for name, data in names.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return content.getvalue()


PACKAGE = archive({"ort.all.js": b"not needed", **BYTES})


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[RemoteFile]:
    """The package on a server of this machine, which cuts the first answer short."""
    asked: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Range"])
            first = int((asked[-1] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
            self.send_response(206 if first else 200)
            if first:
                last = len(PACKAGE) - 1
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(PACKAGE)}")
            self.send_header("Content-Length", str(len(PACKAGE) - first))
            self.end_headers()
            self.wfile.write(PACKAGE[first : None if first else 100])

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/package.tgz"
        digest = hashlib.sha512(PACKAGE).hexdigest()
        yield RemoteFile("onnxruntime-web", (url,), "Way out", len(PACKAGE), {"sha512": digest})
        server.shutdown()
        thread.join()


def test_it_is_downloaded_once_verified_and_two_of_its_files_are_kept(
    remote: RemoteFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = find_runtime(remote=remote)
    assert (first.version, gzip.decompress(first.wasm)) == ("9.8.7", BYTES[WASM])
    assert gzip.decompress(first.module) == BYTES[MODULE].partition(b"//#")[0]  # without its map
    assert f"downloading onnxruntime-web (0 MB) from {remote.urls[0]}" in capsys.readouterr().err
    kept = [path.name for path in (tmp_path / "cache/gancomp").rglob("*.*") if path.is_file()]
    assert sorted(name for name in kept if not name.endswith(".lock")) == [
        f"{WASM}.gz",
        f"{MODULE}.gz",
    ]
    again = find_runtime(remote=RemoteFile("none", ("http://127.0.0.1:1/",), ""))
    assert again == first


def test_what_is_not_the_package_on_record_is_not_used(
    remote: RemoteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    other = RemoteFile("onnxruntime-web", remote.urls, "Way out", None, {"sha512": "0" * 128})
    with pytest.raises(DataError, match=r"^onnxruntime-web cannot be .* sha512 .* Way out$"):
        find_runtime(remote=other)


def test_the_real_address_is_the_registrys_with_a_digest_of_64_bytes() -> None:
    assert REMOTE.urls == (
        f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz",
    )
    assert len(bytes.fromhex(REMOTE.digests["sha512"])) == 64


def test_a_path_may_be_the_package_its_folder_or_that_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, file = stand_in(tmp_path / "node_modules"), tmp_path / "package.tgz"
    file.write_bytes(PACKAGE)
    found = [find_runtime(path) for path in (folder, folder / "dist", file)]
    assert found[0].version == "9.8.7"
    assert found[0] == found[1] == found[2]
    monkeypatch.setenv(VARIABLE, str(file))
    assert find_runtime() == found[0]


@pytest.mark.parametrize("content", [None, b"", b"no archive", archive({MODULE: BYTES[MODULE]})])
def test_a_path_that_is_no_such_thing_is_one_line_with_a_way_out(
    content: bytes | None, tmp_path: Path
) -> None:
    file = tmp_path / "package.tgz"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        find_runtime(file)
    message = str(caught.value)
    assert message.startswith(f"`runtime` {file}: ")
    assert f"npm pack onnxruntime-web@{VERSION}" in message
    assert "\n" not in message


def test_files_of_these_names_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    folder = stand_in(tmp_path / "package")
    (folder / "dist" / WASM).write_text("<html>")
    with pytest.raises(GancompError, match="is not onnxruntime-web, or damaged"):
        find_runtime(folder)
