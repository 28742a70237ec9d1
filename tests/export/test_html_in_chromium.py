"""The page in a real browser: Python's pixels, keys that move the slider, and nothing loaded."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
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
from gancomp.export import html_file
from gancomp.export.html_file import Html
from gancomp.export.model import open_model
from gancomp.export.web_runtime import find_runtime
from gancomp.networks.base import TappedNetwork
from gancomp.recipes.playground import page_server
from gancomp.recipes.translate import TranslateRequest, translate
from gancomp.seeding import derive_generator

pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("onnxscript", reason="needs the extra onnx")

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
    found = find_runtime()  # once: packing it takes seconds
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html_file, "find_runtime", lambda _: found)
        driven = Browser(tmp_path_factory.mktemp("profile"))
        yield driven
        driven.close()


def shown(browser: Browser, canvas: str) -> Any:
    """The pixels `(H, W, 3)` on a canvas of the page."""
    height, width, text = browser.evaluate(SHOWN % canvas)
    levels = np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)
    return levels[:, :, :3].astype(int)


def alarm(browser: Browser) -> Any:
    return browser.evaluate("element('alarm').textContent")


def test_a_picture_is_translated_offline_and_the_line_is_moved_by_keys(
    browser: Browser, tmp_path: Path
) -> None:
    picture = tmp_path / "picture.png"
    draws = np.random.default_rng(0)
    Image.fromarray(draws.integers(0, 256, (37, 50, 3), np.uint8)).save(picture)
    model = write_model(tmp_path / "student.safetensors", settings=ONE_BLOCK)
    page = tmp_path / "page with a space.html"
    Html().write(open_model(model), page)
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
    translate(TranslateRequest(model, [picture], tmp_path / "out"), print)
    (written,) = (tmp_path / "out").iterdir()
    wanted = np.asarray(Image.open(written)).astype(int)
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
