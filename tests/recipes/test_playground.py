"""`gancomp playground`: one page, for this machine alone."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import run_command, write_model
from web_runtimes import stand_in

from gancomp.export.html_file import Html
from gancomp.recipes import playground
from gancomp.recipes.playground import page_server, serve


@pytest.fixture
def port() -> Iterator[int]:
    with page_server("<p>page</p>", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def ask(
    port: int, method: str = "GET", path: str = "/", host: str | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, dict(answer.headers), content


def test_the_page_comes_with_what_keeps_it_apart(port: int) -> None:
    status, headers, content = ask(port)
    assert (status, content) == (200, b"<p>page</p>")
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    policy = headers["Content-Security-Policy"]
    assert "'wasm-unsafe-eval'" in policy
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert policy.endswith("; frame-ancestors 'none'")
    assert ask(port, "HEAD")[0::2] == (200, b"")


def test_only_this_machine_is_answered_and_only_for_the_page(port: int) -> None:
    assert ask(port, host=f"localhost:{port}")[0] == 200
    assert ask(port, host=f"example.org:{port}")[0] == 403
    assert ask(port, path="/etc/passwd")[0] == 404


def test_a_port_that_cannot_be_had_is_one_line(
    port: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = write_model(tmp_path / "model.safetensors")
    monkeypatch.setattr(Html, "text", lambda *_: "page")
    for wrong, told in ((port, "in use"), (70000, "must be from 0")):
        outcome = run_command(capsys, "playground", model, "--port", wrong)
        assert (outcome.status, outcome.out) == (2, "")
        assert outcome.err.startswith(f"error: --port {wrong}: {told}")
        assert outcome.err.count("\n") == 1


def test_it_says_where_it_is_and_ends_when_it_is_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(playground.ThreadingHTTPServer, "serve_forever", interrupted)
    told: list[str] = []
    serve("page", 0, told.append)
    assert told[0].startswith("http://127.0.0.1:")


def test_the_page_is_written_to_a_folder_and_served_if_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, site = write_model(tmp_path / "model.safetensors"), tmp_path / "new/site"
    monkeypatch.setattr(Html, "text", lambda *_: "<p>ä</p>")
    monkeypatch.setattr(playground, "serve", lambda text, port, ready: ready(f"{text} {port}"))
    document = run_command(capsys, "playground", model, "-o", site, "--json").document
    assert document == {"file": str(site / "index.html"), "bytes": 9}
    assert (site / "index.html").read_bytes() == "<p>ä</p>".encode()
    served = run_command(capsys, "playground", model, "-o", site, "--serve", "--json").document
    assert served == document | {"url": "<p>ä</p> 8000"}
    outcome = run_command(capsys, "playground", model, "-o", site, "--port", 0)
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
    assert "add --serve" in outcome.err


def test_generators_that_no_page_shows_together_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"resolution": 32, "num_classes": 3}
    noise = write_model(tmp_path / "noise.safetensors", "biggan", settings=settings)
    model = write_model(tmp_path / "model.safetensors")
    runtime = stand_in(tmp_path / "runtime")
    outcome = run_command(capsys, "playground", model, noise, "--runtime", runtime)
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert "make two pages" in outcome.err
