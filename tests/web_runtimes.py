"""ONNX Runtime Web for tests: a stand-in of a few bytes, and the real one where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gancomp.export.web_runtime import MODULE, PACKAGE, VARIABLE, VERSION, WASM
from gancomp.paths import cache_folder

BYTES = {
    MODULE: b"/*!\n * ONNX Runtime Web v9.8.7\n */\nexport {};\n//# sourceMappingURL=ort.map\n",
    WASM: b"\0asm and so on",
}


def stand_in(folder: Path) -> Path:
    """A folder as npm installs the package, which no browser could compute with."""
    (folder / "dist").mkdir(parents=True)
    for name, content in BYTES.items():
        (folder / "dist" / name).write_bytes(content)
    return folder


def skip_without_runtime() -> None:
    """Skips the test where the real package would have to be downloaded."""
    cache = cache_folder()
    if not os.environ.get(VARIABLE) and not (cache and (cache / f"{PACKAGE}-{VERSION}").is_dir()):
        pytest.skip(f"{PACKAGE} is not at hand: set {VARIABLE}, or export a page once")
