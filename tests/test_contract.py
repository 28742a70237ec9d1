"""What every line of every table must keep, plug-ins' lines included.

What methods and networks compute has contract tests of its own beside theirs.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import SIZE
from lines import lines, plug_ins_loaded

from gancomp.config import read
from gancomp.data.demo_set import write_demo_set
from gancomp.data.layout import scan
from gancomp.declare import Option
from gancomp.errors import ConfigError, GancompError, WeightsError
from gancomp.export.foreign import Recognized
from gancomp.export.model import open_model
from gancomp.export.native import save_model
from gancomp.metrics.base import ImageSet
from gancomp.metrics.resampling import intervals, resamples_of
from gancomp.networks.base import TappedNetwork
from gancomp.options import (
    all_metric_options,
    all_options,
    method_options,
    metric_options,
    own_options,
    shrinker_options,
)
from gancomp.presets import all_presets
from gancomp.registry import (
    CHECKPOINTS,
    DISCRIMINATORS,
    EXPORTERS,
    METHODS,
    METRICS,
    NETWORKS,
    OWN_OPTIONS,
    READERS,
    SHRINKERS,
    TABLES,
    TASKS,
    build_network,
    network_options,
    options_type,
    resolve,
)
from gancomp.scoring.measuring import own_protocols
from gancomp.settings import NetworkSettings
from gancomp.shrink.base import ShrinkRequest, searches
from gancomp.shrink.budget import Clock
from gancomp.tasks.base import Task

pytestmark = pytest.mark.usefixtures("plug_ins")
with plug_ins_loaded():
    OWNERS = [("network", name) for name in NETWORKS] + [
        (kind, name) for kind, (things, _, _) in OWN_OPTIONS.items() for name in things
    ]
ROWS = {
    "method": method_options,
    "metric": metric_options,
    "shrinker": shrinker_options,
    "network": own_options,
}


@pytest.mark.parametrize(("kind", "name"), OWNERS)
def test_own_options_have_defaults_that_keep_their_limits(kind: str, name: str) -> None:
    declared = network_options(name) if kind == "network" else options_type(name, kind)
    assert dataclasses.is_dataclass(declared)
    assert declared.__dataclass_params__.frozen  # type: ignore[attr-defined]  # every dataclass has them
    default = declared()
    given = {
        item.name: value
        for item in dataclasses.fields(declared)
        if (value := getattr(default, item.name)) is not None
    }
    assert read(declared, given) == default


@pytest.mark.parametrize(("kind", "name"), OWNERS)
def test_own_options_are_on_the_command_line_under_their_owner_s_name(kind: str, name: str) -> None:
    rows = ROWS[kind](name)
    known: dict[str, Option] = {row.name: row for row in (*all_options(), *all_metric_options())}
    for row in rows:
        assert row.flag.startswith("--")
        assert row.help.endswith(".")
        assert row.default
        shared = known[row.name]
        assert (shared.kind, set(row.owners) <= set(shared.owners)) == (row.kind, True)
        assert set(row.sets) <= set(shared.sets)


@pytest.mark.parametrize("table", [name for name in TABLES if name.endswith("_options")])
def test_options_that_stand_apart_belong_to_a_line(table: str) -> None:
    things = TABLES[f"{table.removesuffix('_options')}s"]
    assert set(TABLES[table]) <= set(things)


@pytest.mark.parametrize("name", lines("methods"))
def test_a_method_says_what_it_is_for(name: str) -> None:
    method = resolve(METHODS, "method", name)
    assert method.name == name
    assert method.paper
    assert method.tasks
    assert set(method.tasks) <= set(TASKS)
    assert (method.__doc__ or "").strip()
    assert isinstance(method.distills, bool)
    rows = [row for row in all_presets() if row.method == name]
    assert {row.task for row in rows} <= set(method.tasks)


@pytest.mark.parametrize("name", lines("networks"))
def test_a_network_comes_back_from_our_own_file(name: str, tmp_path: Path) -> None:
    network = small(name)
    file = tmp_path / "network.safetensors"
    entries: Any = dict.fromkeys(("task", "method", "dataset"))
    role = "discriminator" if name in DISCRIMINATORS else "student"
    save_model(file, network, role=role, step=1, input_size=SIZE, **entries)
    opened = open_model(file).network
    assert (opened.arch, opened.settings()) == (name, network.settings())
    assert set(opened.settings()) <= {"width"} | {
        item.name for item in dataclasses.fields(network_options(name))
    }
    state = opened.state_dict()
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())
    settings = {key: value for key, value in network.settings().items() if value is not None}
    again = read(NetworkSettings, {"arch": name, **settings})
    assert build_network(again.arch, **again.arguments()).settings() == network.settings()


def small(arch: str) -> TappedNetwork:
    given: dict[str, Any] = {"width": 2 if arch == "biggan" else 4}
    known = {item.name for item in dataclasses.fields(network_options(arch))}
    of_synthesis = {"resolution": 32, "style_channels": 8, "const_channels": 6, "num_classes": 3}
    given |= {key: value for key, value in of_synthesis.items() if key in known}
    return build_network(arch, **given)


@pytest.mark.parametrize("name", lines("tasks"))
def test_a_task_is_one_and_has_its_reader(name: str) -> None:
    assert issubclass(resolve(TASKS, "task", name), Task)
    assert name in READERS


@pytest.mark.parametrize("name", lines("readers"))
def test_a_reader_gives_the_same_images_for_the_same_place(name: str, tmp_path: Path) -> None:
    write_demo_set(tmp_path, size=64, train=2, test=1, paired=name == "paired")
    root = tmp_path if name in ("paired", "unpaired") else tmp_path / "trainA"
    own = {"scale": 4} if name == "super-resolution" else {"load_size": SIZE}
    reader = resolve(READERS, "task", name)(
        scan(root, task=name).train, size=SIZE, seed=0, flip=True, strict=True, **own
    )
    first, again, other = reader[0, 0], reader[0, 0], reader[1, 0]
    assert first.keys() == again.keys() == other.keys()
    assert len(reader) == 2
    for key, images in first.items():
        assert torch.equal(images, again[key])
        if images.is_floating_point():
            assert (images.dtype, images.ndim) == (torch.float32, 3)
            assert -1 <= images.min() <= images.max() <= 1


def accepts(metric: Any, count: int) -> bool:
    try:
        getattr(metric, "check", lambda fakes, reals: None)(count, count)
    except ConfigError:
        return False
    return True


def assert_compares_pairs(metric: Any) -> None:
    try:
        getattr(metric, "prepare", lambda *unused: None)(torch.device("cpu"), lambda message: None)
    except (ConfigError, WeightsError) as error:
        pytest.skip(str(error))  # an extra, or weights that the user brings
    image, other = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3)).astype(np.uint8)
    value = metric.of_pair(image, other)
    assert math.isfinite(value)
    assert metric.of_pair(image, other) == value != metric.of_pair(image, image)
    json.dumps(metric.protocol())


@pytest.mark.parametrize("name", lines("metrics"))
def test_a_metric_gives_the_same_finite_numbers_from_what_it_says_it_needs(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*arguments: Any, **more: Any) -> None:
        raise OSError("tests download nothing")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    kind = resolve(METRICS, "metrics", name)
    assert kind.needs in ("features", "fake features", "statistics", "pairs")
    assert kind.__doc__
    metric = kind(kind.Options())
    if kind.needs == "pairs":
        assert_compares_pairs(metric)
        return
    count = 24 if accepts(metric, 24) else 6000
    rows = np.random.default_rng(0).normal(size=(2, count, 6)).astype(np.float32)
    fakes, reals = (ImageSet(part) for part in rows)
    found = metric.scores(fakes, reals)
    assert found
    assert all(isinstance(key, str) and math.isfinite(value) for key, value in found.items())
    assert metric.scores(fakes, reals) == found
    if kind.needs == "statistics":
        apart = ImageSet(given=fakes.statistics), ImageSet(given=reals.statistics)
        assert metric.scores(*apart) == pytest.approx(found, rel=1e-6)
    elif metric.needs == "fake features":
        assert metric.scores(fakes, ImageSet(given=reals.statistics)) == pytest.approx(found)
    assert metric.warning(24) is None or isinstance(metric.warning(24), str)
    resamples = resamples_of(fakes, reals, 20)
    for key, (low, high) in intervals(metric, found, fakes, reals, resamples=resamples).items():
        assert low <= found[key] <= high
        assert math.isfinite(high - low)
    json.dumps(own_protocols({name: metric}, fakes, reals))


@pytest.mark.parametrize("name", lines("exporters"))
def test_an_exporter_writes_a_file_of_its_suffix_and_checks_it(name: str, tmp_path: Path) -> None:
    kind = resolve(EXPORTERS, "format", name)
    same = [other for other in EXPORTERS if resolve(EXPORTERS, "", other).suffix == kind.suffix]
    assert (kind.suffix[0], same) == (".", [name])
    file = tmp_path / "student.safetensors"
    entries: Any = dict.fromkeys(("method", "dataset")) | {"task": "super-resolution"}
    network = build_network("srresnet", width=2, blocks=1, scale=2)
    save_model(file, network, role="student", step=1, input_size=16, **entries)
    model, out = open_model(file), tmp_path / f"out{kind.suffix}"
    try:
        kind().write(model, out)
    except GancompError as error:
        if "pip install" in str(error):
            pytest.skip(str(error))
        raise
    assert out.exists()
    parity = kind().parity(model, out)
    assert parity is None or math.isfinite(parity)


@pytest.mark.parametrize("name", lines("shrinkers"))
def test_a_shrinker_keeps_to_its_budget_and_refuses_what_is_none(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clock, "ms", lambda clock, network: float(network.width))
    monkeypatch.setattr(Clock, "teacher_ms", 64.0)
    kind = resolve(SHRINKERS, "shrink", name)
    assert kind.__doc__
    shrinker = kind(kind.Options())
    with pytest.raises(ConfigError, match="^`shrink` it `budget` none: "):
        shrinker.read("`shrink` it `budget` none", "none")
    budget = shrinker.read("", kind.example)
    assert budget == shrinker.read("", kind.example)
    if searches(shrinker):
        assert callable(shrinker.begin)
        assert shrinker.length > 0
        assert shrinker.options.search_steps is None
        return  # what these find, from images, is in tests/training/test_searching.py
    teacher = NetworkSettings("mobile-resnet6", 8)
    said: list[str] = []
    request = ShrinkRequest(
        teacher,
        teacher,
        budget,
        "--budget",
        SIZE,
        "cpu",
        open_teacher=lambda: build_network(teacher.arch, **teacher.arguments()),
        say=said.append,
    )
    try:
        shrunk = shrinker.shrink(request)
    except ConfigError as error:
        if "pip install" in str(error):
            pytest.skip(str(error))
        raise
    assert shrunk.student.arch == teacher.arch
    assert 1 <= shrunk.student.width <= teacher.width
    network = build_network(shrunk.student.arch, **shrunk.student.arguments())
    if shrunk.weights is not None:
        network.load_state_dict(dict(shrunk.weights))


@pytest.mark.parametrize("name", lines("checkpoints"))
def test_a_recognizer_says_nothing_of_what_is_not_its_own_and_names_what_is(name: str) -> None:
    recognize = resolve(CHECKPOINTS, "checkpoint", name)
    assert recognize.__doc__
    for state in ({}, {"zzz": torch.zeros(2)}, {"zzz.weight": torch.zeros(())}):
        assert recognize(dict(state)) is None
    for arch in ("resnet9", "unet128", "patchgan", "srresnet"):
        state = small(arch).state_dict()
        before = dict(state)
        found = recognize(state)
        assert before.keys() == state.keys()
        if found is not None:
            assert isinstance(found, Recognized)
            build_network(found.arch, **found.settings).load_state_dict(found.state, strict=False)


def test_the_tables_of_plug_ins_are_those_that_are_tested_here() -> None:
    assert {name for name in TABLES if not name.endswith("_options")} == {
        "methods", "networks", "metrics", "exporters", "shrinkers", "checkpoints"
    }  # fmt: skip
