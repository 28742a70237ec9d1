"""The page in a real browser: nothing is asked for, all pictures load, the slider moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Browser, executable
from report_runs import keep_scores, write_data, write_run

from gancomp.report.page import ReportRequest, report

pytest.importorskip("matplotlib", reason="needs the extra report")

LOADED = """new Promise((done) => {
  if (document.readyState === "complete") done();
  else addEventListener("load", () => done());
})"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    executable()  # skips where there is none
    driven = Browser(tmp_path_factory.mktemp("profile"))
    yield driven
    driven.close()


def test_a_report_works_without_a_network_by_keys_and_on_a_phone(
    browser: Browser, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "a run", write_data(tmp_path / "data"))
    keep_scores(run)
    report(ReportRequest([run], tmp_path / "report.html"), lambda message: None)
    offline = {"latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.call("Network.emulateNetworkConditions", offline=True, **offline)
    browser.open((tmp_path / "report.html").as_uri())
    browser.evaluate(LOADED)
    browser.evaluate("Promise.all([...document.images].map((image) => image.decode()))")
    widths = browser.evaluate("[...document.images].map((image) => image.naturalWidth)")
    assert len(widths) == 11
    assert all(widths)

    slider = "document.querySelector('.compare input')"
    browser.evaluate(f"{slider}.focus()")
    browser.press("ArrowRight", times=3)
    assert browser.evaluate(f"{slider}.value") == "53"
    line = "document.querySelector('.compare').style.getPropertyValue('--split')"
    assert browser.evaluate(line) == "53%"
    assert browser.evaluate(f"{slider}.getAttribute('aria-valuetext')").startswith("53 % teacher")
    browser.evaluate("document.querySelector('.thumbs button[value=input]').click()")
    assert browser.evaluate(f"{slider}.getAttribute('aria-valuetext')").startswith("53 % input")

    for width in (360, 1200):
        browser.screenshot(tmp_path / f"{width}.png", width, 800, dark=width == 360)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
    colors = browser.evaluate(
        """[...document.querySelectorAll(".chart path")]
        .filter((path) => getComputedStyle(path).stroke.startsWith("rgb")).length"""
    )
    assert colors > 0
    assert browser.complaints == []
    assert all(address.startswith(("file:", "data:")) for address in browser.requests)
