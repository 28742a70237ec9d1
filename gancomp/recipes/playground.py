"""`gancomp playground`: a page that runs generators, served to this machine's browser."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from gancomp.errors import ConfigError
from gancomp.export.html_file import POLICY, Html, scripts
from gancomp.files import reporting_disk_errors, write_text
from gancomp.inference.models import choose
from gancomp.pages import policy
from gancomp.recipes.export import with_teacher

HOST = "127.0.0.1"
MOST_PORT = 65535
HEADERS = {  # beside the policy; the first two are what threads of WebAssembly would take
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def playground_page(
    models: Sequence[Path], *, part: str | None = None, runtime: Path | None = None
) -> str:
    """The page of `gancomp export -o student.html`, for the generators of several models or runs.

    Args:
        models: model files or runs, from left to right; a run alone comes with its teacher.
        part: network of a file that holds several.
        runtime: where ONNX Runtime Web lies; by default it is fetched once.

    Raises:
        ConfigError: for models that no page shows, or without the extra `onnx` or the runtime.
        CheckpointError: if a model cannot be opened.
        DataError: if the runtime cannot be downloaded.
        ExportError: if a generator cannot be exported, or would not give PyTorch's images.
    """
    loaded = [choose(model, part).model for model in models]
    if len(models) == 1:
        loaded = with_teacher(models[0], loaded[0])
    return Html(runtime=runtime).text(loaded, f"playground {models[-1]}")


def check_port(port: int | None, *, serves: bool) -> None:
    """Refuses a port where nothing is served.

    Raises:
        ConfigError: naming it.
    """
    if port is not None and not serves:
        raise ConfigError(f"`port` {port}: only matters where the page is served; add `serve`")


def write_site(text: str, folder: Path) -> Path:
    """Writes the page as `index.html` of a folder, which any server of files can show.

    Raises:
        RunError: if it cannot be written.
    """
    file = folder / "index.html"
    with reporting_disk_errors(file):
        folder.mkdir(parents=True, exist_ok=True)
    write_text(file, text)
    return file


def serve(text: str, port: int, ready: Callable[[str], None]) -> None:
    """Serves the page on 127.0.0.1 until it is interrupted.

    Args:
        text: of `playground_page`.
        port: 0 takes any that is free.
        ready: told the page's address once it answers.

    Raises:
        ConfigError: if the port cannot be had.
    """
    # an interrupt is how it is meant to end
    with page_server(text, port) as server, contextlib.suppress(KeyboardInterrupt):
        ready(f"http://{HOST}:{server.server_port}/")
        server.serve_forever()


def page_server(text: str, port: int) -> ThreadingHTTPServer:
    """A server of one page, which does not run yet.

    Raises:
        ConfigError: if the port cannot be had.
    """
    if not 0 <= port <= MOST_PORT:
        raise ConfigError(f"`port` {port}: must be from 0 (any that is free) to {MOST_PORT}")
    content = text.encode()

    class Handler(_PageHandler):
        page = content

    try:
        return ThreadingHTTPServer((HOST, port), Handler)
    except OSError as error:
        reason = "in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise ConfigError(
            f"`port` {port}: {reason}; choose another, or 0 for any that is free"
        ) from error


class _PageHandler(BaseHTTPRequestHandler):
    """Answers for `/` alone, and only to whoever asks for this machine by name."""

    page: bytes

    def do_GET(self) -> None:  # noqa: N802  # the library's name
        host = (self.headers.get("Host") or "").rpartition(":")[0]
        if host not in (HOST, "localhost"):  # a stranger's name that leads here
            self.send_error(403, "this page is for 127.0.0.1")
        elif self.path.partition("?")[0] != "/":
            self.send_error(404)
        else:
            self._answer()

    do_HEAD = do_GET  # noqa: N815  # the library's name

    def _answer(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(self.page)))
        allowed = policy(scripts(), (*POLICY, "frame-ancestors 'none'"))
        for name, value in (HEADERS | {"Content-Security-Policy": allowed}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(self.page)

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing: stdout is for results, and requests are none."""
