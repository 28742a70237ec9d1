"""In JavaScript, Python's pixels: the page in a real browser, the example of a page in Node."""

from __future__ import annotations

import base64
import gzip
import os
import re
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chromium import Browser, executable
from commands import write_model
from PIL import Image
from web_runtimes import skip_without_runtime

from gancomp.data.transforms import to_nearest_uint8
from gancomp.export import html_file, web_runtime
from gancomp.export.html_file import Entry, Html, build_page
from gancomp.export.model import open_model
from gancomp.export.onnx_file import Onnx
from gancomp.export.web_runtime import MODULE, PACKAGE, VARIABLE, WASM, find_runtime
from gancomp.networks.base import TappedNetwork
from gancomp.recipes.playground import page_server
from gancomp.recipes.translate import TranslateRequest, translate
from gancomp.seeding import derive_generator

pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("onnxscript", reason="needs the extra onnx")

DEPLOY = Path(__file__).parents[2] / "examples/deploy.md"
FILES = (MODULE, WASM, "/ort-wasm-simd-threaded.mjs", "package/package.json")
ONE_BLOCK = {"channels": [4, 4, 4, 4, 0, 0, 0, 0, 0, 4, 4]}
TINY_BIGGAN = {"resolution": 32, "num_classes": 5}
MOST_LEVELS = 2
STATE = "document.body?.dataset.state"
DONE = f"['ready', 'failed'].includes({STATE})"
SHOWN = """(() => {
  const canvas = element(%r);
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let text = "";
  for (const level of data) text += String.fromCharCode(level);
  return [canvas.height, canvas.width, btoa(text)];
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    executable()
    skip_without_runtime()
    with pytest.MonkeyPatch.context() as patch:
        # once and lightly packed: it takes seconds
        patch.setattr(web_runtime, "packed", partial(gzip.compress, compresslevel=1, mtime=0))
        found = find_runtime()
        patch.setattr(html_file, "find_runtime", lambda _=None: found)
        driven = Browser(tmp_path_factory.mktemp("profile"))
        yield driven
        driven.close()


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Entry:
    """A generator as it is exported for pages, traced once."""
    skip_without_runtime()
    path = tmp_path_factory.mktemp("models") / "student.safetensors"
    model = open_model(write_model(path, settings=ONE_BLOCK))
    return Entry("student", model, *Onnx(pixels=True).content(model, "-o student.html"))


def translated(student: Entry, picture: Path) -> Any:
    """What `gancomp translate` makes of a picture."""
    translate(TranslateRequest(student.model.path, [picture], picture.parent / "out"), print)
    (written,) = (picture.parent / "out").iterdir()
    return np.asarray(Image.open(written)).astype(int)


def shown(browser: Browser, canvas: str) -> Any:
    """The pixels `(H, W, 3)` on a canvas of the page."""
    height, width, text = browser.evaluate(SHOWN % canvas)
    levels = np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)
    return levels[:, :, :3].astype(int)


def alarm(browser: Browser) -> Any:
    return browser.evaluate("element('alarm').textContent")


def test_a_picture_is_translated_offline_and_the_line_is_moved_by_keys(
    browser: Browser, student: Entry, tmp_path: Path
) -> None:
    picture = tmp_path / "picture.png"
    draws = np.random.default_rng(0)
    Image.fromarray(draws.integers(0, 256, (37, 50, 3), np.uint8)).save(picture)
    page = tmp_path / "page with a space.html"
    page.write_text(build_page([student], html_file.find_runtime()))
    offline = {"latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.call("Network.emulateNetworkConditions", offline=True, **offline)
    browser.open(page.as_uri())
    browser.wait_for(DONE)
    assert alarm(browser) == ""

    browser.evaluate("element('longest').value = 128, null")
    browser.choose_file("#file", picture)
    browser.wait_for(f"{DONE} && element('before').width === 50")
    assert alarm(browser) == ""
    assert (shown(browser, "before") == np.asarray(Image.open(picture))).all()
    wanted = translated(student, picture)
    assert np.abs(shown(browser, "after") - wanted).max() <= MOST_LEVELS

    browser.evaluate("document.querySelector('.compare input').focus(), null")
    browser.press("ArrowRight", 7)
    described = "document.querySelector('.compare input').getAttribute('aria-valuetext')"
    assert browser.evaluate(described) == "57 % input, 43 % student"
    clip = "getComputedStyle(element('after')).clipPath"
    assert browser.evaluate(clip) == "inset(0px 0px 0px 57%)"
    assert "50 × 37 pixels. student: " in browser.evaluate("element('status').textContent")

    notes = tmp_path / "notes.txt"
    notes.write_text("no picture")
    browser.choose_file("#file", notes)
    browser.wait_for("element('alarm').textContent")
    assert "notes.txt is not a picture" in alarm(browser)
    assert browser.complaints == []
    assert not [url for url in browser.requests if not url.startswith(("file:", "blob:", "data:"))]


def test_a_seed_gives_the_image_that_generate_draws_for_it(
    browser: Browser, tmp_path: Path
) -> None:
    model = open_model(write_model(tmp_path / "g.safetensors", "biggan", settings=TINY_BIGGAN))
    text = Html().text([model], "playground")
    browser.call(
        "Network.emulateNetworkConditions",
        offline=False,
        latency=0,
        downloadThroughput=-1,
        uploadThroughput=-1,
    )
    with page_server(text, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        browser.open(f"http://127.0.0.1:{server.server_port}/")
        browser.wait_for(DONE)
        server.shutdown()
        thread.join()
    assert browser.evaluate("crossOriginIsolated")
    choose = "element('%s').value = %s, element('%s').dispatchEvent(new Event('%s')), null"
    for name, value in (("class-number", 3), ("truncation", 0.5), ("seed-number", 7)):
        kind = "change" if name.endswith("number") else "input"
        browser.evaluate(choose % (name, value, name, kind))
        browser.wait_for(DONE)
    assert alarm(browser) == ""
    assert browser.evaluate("element('truncation-shown').textContent") == "0.50"
    wanted = drawn(model.network, seed=7, truncation=0.5, label=3)
    assert np.abs(shown(browser, "alone") - wanted).max() <= MOST_LEVELS
    assert browser.complaints == []


def drawn(network: TappedNetwork, *, seed: int, truncation: float, label: int) -> Any:
    latents: Any = network.draw_latents(  # type: ignore[operator]  # of networks for synthesis
        1,
        derive_generator(seed, "image", 0),
        classes=torch.tensor([label]),
        truncation=truncation,
    )
    with torch.no_grad():
        return to_nearest_uint8(network(latents))[0].astype(int)


def install_package(folder: Path) -> None:
    """The npm package where npm would put it; skips the test where it is not at hand."""
    found = Path(os.environ.get(VARIABLE, ""))
    package = folder / "node_modules" / PACKAGE
    package.parent.mkdir()
    if found.is_file():
        with tarfile.open(found) as archive:
            wanted = [item for item in archive if item.name.endswith(FILES)]
            archive.extractall(folder, wanted, filter="data")
        (folder / "package").rename(package)
    elif (found / "package.json").exists():
        package.symlink_to(found.resolve())
    else:
        pytest.skip(f"{PACKAGE} is not at hand: set {VARIABLE} to its .tgz or folder")


def test_the_example_in_javascript_translates_a_picture(student: Entry, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node is installed")
    install_package(tmp_path)
    (tmp_path / "student.onnx").write_bytes(student.content)
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    (tmp_path / "horse.rgb").write_bytes(pixels.tobytes())
    Image.fromarray(pixels).save(tmp_path / "horse.png")
    (code,) = re.findall(r"```js\n(.*?)```", DEPLOY.read_text(), re.DOTALL)
    (tmp_path / "example.mjs").write_text(code)
    done = subprocess.run(
        [node, "example.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    wanted = translated(student, tmp_path / "horse.png")
    given = np.frombuffer((tmp_path / "zebra.rgb").read_bytes(), np.uint8).reshape(256, 256, 3)
    assert np.abs(given - wanted).max() <= 2
