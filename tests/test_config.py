from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gancomp.config import changed_on_resume, merge, read, read_toml
from gancomp.errors import ConfigError
from gancomp.methods.dcd_options import DcdOptions
from gancomp.settings import (
    FREE_ON_RESUME,
    DataSettings,
    MethodSettings,
    NetworkSettings,
    OptimizerSettings,
    RunSettings,
    ScheduleSettings,
    Settings,
)


def whole(**changes: Any) -> dict[str, Any]:
    """Nested settings with everything that has no default."""
    base: dict[str, Any] = {
        "command": "distill",
        "data": {"dataset": "toy"},
        "teacher": {"network": {"arch": "resnet9"}},
        "student": {"arch": "resnet9", "width": 16},
        "discriminator": {"arch": "patchgan"},
    }
    for section in ("adversarial", "optimizer", "schedule", "perceptual", "method", "run"):
        base[section] = {}
    return merge(base, changes)


def values_of(kind: type) -> st.SearchStrategy[Any]:
    """Settings of a kind with every field within its limits, straight from the declarations."""
    hints = get_type_hints(kind)
    chosen = {
        item.name: value_of(hints[item.name], item.metadata) for item in dataclasses.fields(kind)
    }
    return st.builds(kind, **chosen)


def value_of(hint: Any, limits: Any) -> st.SearchStrategy[Any]:
    options = [option for option in get_args(hint) if option is not type(None)]
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if get_origin(hint) is tuple and options[-1] is not Ellipsis:
        return st.tuples(*(value_of(option, limits) for option in options))
    if get_origin(hint) is tuple:
        return st.lists(value_of(options[0], {}), max_size=3).map(tuple)
    if get_origin(hint) is dict:
        return st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=2)
    if options:
        nothing = [st.none()] if type(None) in get_args(hint) else []
        return st.one_of(*nothing, *(value_of(option, limits) for option in options))
    if dataclasses.is_dataclass(hint):
        return values_of(hint)  # type: ignore[arg-type]  # a class, not an instance
    if hint is int:
        return st.integers(limits.get("least"), limits.get("most"))
    if hint is float:
        above, least = limits.get("above"), limits.get("least")
        return st.floats(
            least if above is None else above,
            limits.get("most"),
            exclude_min=above is not None,
            allow_nan=False,
            allow_infinity=False,
        )
    return {bool: st.booleans(), str: st.text(max_size=8)}[hint]


@given(values_of(Settings))
def test_settings_survive_the_way_through_json(settings: Settings) -> None:
    text = json.dumps(settings.to_json(), allow_nan=False)
    assert read(Settings, json.loads(text)) == settings
    assert not changed_on_resume(settings, read(Settings, json.loads(text)))


def test_a_square_is_the_same_however_it_is_written() -> None:
    for size, wanted in ((256, 256), ([256, 256], 256), ([256, 512], (256, 512))):
        settings = read(Settings, whole(data={"dataset": "toy", "size": size}))
        assert settings.data.size == wanted
        assert settings.to_json()["data"]["size"] == (256 if wanted == 256 else [256, 512])


@pytest.mark.parametrize(
    ("size", "named"),
    [
        ([256], "`size` [256]: should be 2 numbers"),
        ([256, 4], "`size` 4: must be at least 8"),
        ([256, "x"], "`size` 'x': should be of type int"),
        (None, "`size` None: should be of type int"),
        ("256x512", "`size` '256x512': should be of type int or a list of 2"),
    ],
)
def test_what_is_no_size_is_refused(size: Any, named: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(named)):
        read(Settings, whole(data={"dataset": "toy", "size": size}))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=4,
)
PATHS = [
    (section.name, field.name)
    for section in dataclasses.fields(Settings)
    if dataclasses.is_dataclass(hint := get_type_hints(Settings)[section.name])
    for field in dataclasses.fields(hint)
] + [(section.name,) for section in dataclasses.fields(Settings)]


@given(st.sampled_from(PATHS), json_values)
def test_any_value_anywhere_is_either_read_or_refused(path: tuple[str, ...], value: Any) -> None:
    changes = value
    for name in reversed(path):
        changes = {name: changes}
    try:
        settings = read(Settings, merge(whole(), changes))
    except ConfigError:
        return
    assert read(Settings, settings.to_json()) == settings


def test_missing_fields_take_their_defaults_and_needed_ones_are_asked_for() -> None:
    assert read(ScheduleSettings, {}) == ScheduleSettings()
    with pytest.raises(ConfigError, match="`dataset`: is needed"):
        read(DataSettings, {})
    with pytest.raises(ConfigError, match="teacher: is needed"):
        read(Settings, {key: value for key, value in whole().items() if key != "teacher"})


def test_an_unknown_name_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"run\.worker: no such setting \(did you mean workers\?"):
        read(Settings, whole(run={"worker": 3}))
    with pytest.raises(ConfigError, match=r"zzz: no such setting \(known: beta1, beta2, eps, lr\)"):
        read(OptimizerSettings, {"zzz": 1})


def test_all_problems_are_told_at_once_in_the_same_order() -> None:
    values = whole(
        data={"size": 3, "batch_size": "4"}, optimizer={"lr": 0.0}, run={"b": 1, "a": 1, "c": 1}
    )
    with pytest.raises(ConfigError) as info:
        read(Settings, values)
    assert str(info.value).split("; ") == [
        "`size` 3: must be at least 8",
        "`batch_size` '4': should be of type int",
        "`lr` 0.0: must be greater than 0",
        *(line for name in "abc" for line in [unknown(name)]),
    ]


def unknown(name: str) -> str:
    known = ", ".join(sorted(item.name for item in dataclasses.fields(RunSettings)))
    return f"run.{name}: no such setting (known: {known})"


@pytest.mark.parametrize(
    ("kind", "name", "edge", "beyond"),
    [
        (DataSettings, "size", 8, 7),
        (DataSettings, "size", 4096, 4097),
        (DataSettings, "batch_size", 1, 0),
        (NetworkSettings, "width", 1, 0),
        (NetworkSettings, "dropout", 0.999, 1.0),
        (NetworkSettings, "dropout", 0.0, -0.001),
        (OptimizerSettings, "lr", 10.0, 10.001),
        (OptimizerSettings, "lr", 1e-12, 0.0),
        (ScheduleSettings, "epochs", 0, -1),
        (ScheduleSettings, "max_steps", 1, 0),
        (ScheduleSettings, "max_seconds", 0.001, 0.0),
        (RunSettings, "seed", 2**63 - 1, 2**63),
        (RunSettings, "seed", 0, -1),
        (RunSettings, "workers", 0, -1),
        (RunSettings, "checkpoint_every", 1, 0),
        (RunSettings, "keep_checkpoints", 1, 0),
    ],
)
def test_limits_hold_to_the_edge(kind: type, name: str, edge: float, beyond: float) -> None:
    needed = {DataSettings: {"dataset": "x"}, NetworkSettings: {"arch": "resnet9"}}.get(kind, {})
    assert getattr(read(kind, needed | {name: edge}), name) == edge
    with pytest.raises(ConfigError, match=f"{beyond}: must be"):
        read(kind, needed | {name: beyond})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400])
def test_a_number_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ConfigError, match="`lr` .*must be a finite number"):
        read(OptimizerSettings, {"lr": value})
    with pytest.raises(ConfigError, match="`max_time` .*must be a finite number"):
        read(ScheduleSettings, {"max_seconds": value})


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (RunSettings, "seed", True),
        (RunSettings, "seed", 1.0),
        (RunSettings, "seed", "1"),
        (RunSettings, "seed", None),
        (RunSettings, "tensorboard", 1),
        (RunSettings, "tensorboard", "yes"),
        (RunSettings, "device", 0),
        (OptimizerSettings, "lr", True),
        (OptimizerSettings, "lr", "0.1"),
        (MethodSettings, "options", []),
        (DcdOptions, "style_taps", "relu1_2"),
        (DcdOptions, "style_taps", [1]),
    ],
)
def test_a_value_of_another_type_is_refused(kind: type, name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match="should be of type"):
        read(kind, {name: value})


def test_a_whole_number_will_do_for_a_float_and_a_list_for_a_tuple() -> None:
    assert read(OptimizerSettings, {"lr": 1}) == OptimizerSettings(lr=1.0)
    assert isinstance(read(OptimizerSettings, {"lr": 1}).lr, float)
    assert read(NetworkSettings, {"arch": "x", "channels": [1, 2]}).channels == (1, 2)


@pytest.mark.parametrize("value", ["Hinge", "", 1, None, [], {}])
def test_a_choice_names_what_can_be_chosen(value: Any) -> None:
    with pytest.raises(ConfigError, match="`gan` .*not one of lsgan, hinge, vanilla"):
        read(Settings, whole(adversarial={"gan": value}))


def test_a_method_reads_its_own_options_with_the_same_care() -> None:
    with pytest.raises(ConfigError) as info:
        read(DcdOptions, {"lambda_dcd": -1, "lambda_styl": 1}, "method.options")
    assert "`lambda_dcd` -1.0: must be at least 0" in str(info.value)
    assert "method.options.lambda_styl: no such setting (did you mean lambda_style?)" in str(
        info.value
    )


def test_merging_goes_into_tables_and_alters_neither_side() -> None:
    base, changes = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}, "e": {"f": 5}}
    copies = json.dumps([base, changes])
    assert merge(base, changes) == {"a": {"b": 4, "c": 2}, "d": 3, "e": {"f": 5}}
    assert json.dumps([base, changes]) == copies


def test_a_toml_file_says_the_same_as_the_settings_it_was_written_from(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        'command = "distill"\n[data]\ndataset = "Zürich"\nflip = false\n[teacher.network]\n'
        'arch = "unet128"\nchannels = [1, 2]\n[optimizer]\nlr = 1e-3\n[run]\nseed = 5\n'
        "[method.options]\nlambda_dcd = 2\n",
        encoding="utf-8",
    )
    settings = read(Settings, merge(whole(), read_toml(path)))
    assert settings == read(
        Settings,
        whole(
            data={"dataset": "Zürich", "flip": False},
            teacher={"network": {"arch": "unet128", "channels": [1, 2]}},
            optimizer={"lr": 0.001},
            run={"seed": 5},
            method={"options": {"lambda_dcd": 2}},
        ),
    )


@pytest.mark.parametrize("content", [b"a = ", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_file_that_is_not_toml_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"`config` .*run.toml: is not valid TOML"):
        read_toml(tmp_path / "run.toml")


def test_a_missing_config_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`config` .*no.toml: cannot be read"):
        read_toml(tmp_path / "no.toml")


def test_resume_lists_every_change_of_what_a_step_computes() -> None:
    saved = read(Settings, whole())
    wanted = read(Settings, whole(run={"seed": 3, "workers": 7}, optimizer={"lr": 0.5}))
    assert changed_on_resume(saved, wanted) == [
        "optimizer.lr: 0.0002 -> 0.5",
        "run.seed: 0 -> 3",
    ]


def test_only_conduct_and_length_are_free_to_change_on_resume() -> None:
    free = {f"{section}.{name}" for section, names in FREE_ON_RESUME.items() for name in names}
    assert free == {
        "run.compile",
        "run.workers",
        "run.checkpoint_every",
        "run.keep_checkpoints",
        "run.sample_every",
        "run.log_every",
        "run.tensorboard",
        "run.device",
        "run.rank_timeout",
        "schedule.max_steps",
        "schedule.max_seconds",
        "data.strict",
        "data.cache",
        "perceptual.file",
        "method.quantization_aware",  # an older run may be finished so
        "method.quantized_steps",
    }
    known = {".".join(path) for path in PATHS}
    assert free <= known, "a renamed setting would silently become forbidden"


def test_older_files_have_their_names_still(tmp_path: Path) -> None:
    """`optimiser` and `normalise` of earlier run files and `--config` files are read as today's."""
    older = read(Settings, whole()).to_json()
    older["optimiser"] = older.pop("optimizer") | {"lr": 0.125}
    older["perceptual"]["normalise"] = not older["perceptual"].pop("normalize")
    settings = read(Settings, older)
    assert settings.optimizer.lr == 0.125
    assert settings.perceptual.normalize is older["perceptual"]["normalise"]
    file = tmp_path / "older.toml"
    file.write_text("[optimiser]\nlr = 0.125\n[perceptual]\nnormalise = true\n")
    assert read_toml(file) == {"optimizer": {"lr": 0.125}, "perceptual": {"normalize": True}}
