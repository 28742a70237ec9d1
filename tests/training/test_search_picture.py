"""The picture of a search: its points are the lines of `search.jsonl`."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from shrink_builders import kept_in

from gancomp.settings import NetworkSettings
from gancomp.shrink.base import Shrunk

pytest.importorskip("matplotlib", reason="needs the extra report")

from gancomp.training.search_picture import FILE, draw_search

SVG = "{http://www.w3.org/2000/svg}"
CHOSEN = (3, 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a search that looked at 12 candidates, one of them twice."""
    folder = tmp_path_factory.mktemp("search")
    candidates = kept_in(folder)
    for number in (*range(12), 5):
        shape, cost = (number % 4, number // 4), 2.3e9 + 1e7 * number * (number % 3)
        candidates.score(shape, {"cost": cost}, lambda n=number: 40.0 + (n * 7) % 11)
    found = {"shape": list(CHOSEN), "scored_by": "fid"}
    path = draw_search(candidates, Shrunk(NetworkSettings("resnet6", 4), found=found), folder)
    assert path == folder / FILE
    return folder


def drawn(folder: Path) -> tuple[np.ndarray, list[str]]:
    """Where the markers are, x and y, and the style of each."""
    root = ElementTree.parse(folder / FILE).getroot()
    places, styles = [], []
    for group in root.iter(f"{SVG}g"):
        for marker in group.findall(f"{SVG}use") if "clip-path" in group.attrib else []:
            places.append((float(marker.attrib["x"]), float(marker.attrib["y"])))
            styles.append(marker.attrib["style"])
    return np.array(places), styles


def test_its_points_are_those_of_the_file(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "search.jsonl").read_text().splitlines()]
    assert len(lines) == 12
    lines.sort(key=lambda line: tuple(line["shape"]) == CHOSEN)  # which is drawn above the others
    wanted = np.array([(line["measures"]["cost"], line["score"]) for line in lines])
    places, _ = drawn(folder)
    assert places.shape == wanted.shape
    for have, want in zip(places.T, wanted.T, strict=True):
        ends = want.argmin(), want.argmax()
        scale = (have[ends[1]] - have[ends[0]]) / (want[ends[1]] - want[ends[0]])
        assert np.abs(have - have[ends[0]] - scale * (want - want[ends[0]])).max() < 1e-3
    cheapest, dearest = wanted[:, 0].argmin(), wanted[:, 0].argmax()
    assert places[cheapest, 0] < places[dearest, 0]
    best, worst = wanted[:, 1].argmin(), wanted[:, 1].argmax()
    assert places[best, 1] > places[worst, 1]  # downward in SVG


def test_the_chosen_one_alone_is_filled_and_named(folder: Path) -> None:
    _, styles = drawn(folder)
    assert all("fill-opacity: 0" in style for style in styles[:-1])
    assert "fill: #c2410c" in styles[-1]
    root = ElementTree.parse(folder / FILE).getroot()
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert texts.count("chosen") == 1
    assert "MACs" in texts
    assert "FID, less is better" in texts
