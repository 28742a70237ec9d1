"""Every option reaches a setting that exists, and a setting names the option that sets it."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

import pytest

from gancomp.config import NETWORK_FLAGS, Settings
from gancomp.errors import ConfigError
from gancomp.options import OPTIONS, Option, gather, put, seconds
from gancomp.recipes.ineffective import RULES
from gancomp.recipes.plan import Given
from gancomp.registry import DISCRIMINATORS, METHODS, NETWORKS, resolve

METHOD_OPTIONS = {name: resolve(METHODS, "--method", name).Options for name in METHODS}
# these set two settings at once, or one in another unit
SPECIAL = {
    "student_gan": bool,
    "schedule.max_seconds": str,
    "method.options.r1_gamma": str,
    "data.source.range": str,
    "data.target.range": str,
}


def leaves(kind: Any, where: str = "") -> dict[str, tuple[Any, str | None]]:
    """Dotted path of every setting -> its type without None, and the option it names."""
    hints, found = typing.get_type_hints(kind), {}
    for item in dataclasses.fields(kind):
        path = f"{where}.{item.name}" if where else item.name
        hint = plain(hints[item.name])
        if dataclasses.is_dataclass(hint):
            found |= leaves(hint, path)
        else:
            found[path] = (hint, item.metadata.get("flag") or NETWORK_FLAGS.get(path))
    return found


def plain(hint: Any) -> Any:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint, *_ = [option for option in typing.get_args(hint) if option is not type(None)]
    return hint


def all_leaves() -> dict[str, tuple[Any, str | None]]:
    found = leaves(Settings)
    for kind in METHOD_OPTIONS.values():
        found |= leaves(kind, "method.options")
    return found


def value_type(hint: Any) -> Any:
    return str if typing.get_origin(hint) is typing.Literal else hint


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.flag)
def test_an_option_reaches_an_existing_setting_of_its_type(option: Option) -> None:
    if option.setting in SPECIAL:
        assert option.kind is SPECIAL[option.setting]
    elif "." in option.setting:
        hint, _ = all_leaves()[option.setting]
        assert option.kind is value_type(hint)
    else:
        hint = plain(typing.get_type_hints(Given)[option.setting])
        assert option.kind is hint


def test_there_are_as_many_options_as_rows_in_the_table() -> None:
    assert len(OPTIONS) == len({option.parameter for option in OPTIONS})
    assert len(OPTIONS) >= 55


@pytest.mark.parametrize("path", sorted(all_leaves()))
def test_the_option_that_a_setting_names_is_the_one_that_sets_it(path: str) -> None:
    _, flag = all_leaves()[path]
    setters = [option for option in OPTIONS if option.setting == path]
    if flag is None:
        assert setters == []
        return
    flags = {option.flag.split("/")[0]: option.setting for option in OPTIONS}
    # student_arch and student_width choose a whole network, which then holds their value
    assert flags[flag] in (path, path.replace(".", "_"), "arch")


@pytest.mark.parametrize("path", sorted(NETWORK_FLAGS))
def test_the_options_of_the_networks_name_settings_that_exist(path: str) -> None:
    assert path in all_leaves()


def test_the_rules_about_options_without_effect_name_options_that_exist() -> None:
    assert {path for path, _, _ in RULES} <= {option.setting for option in OPTIONS}


def test_the_help_of_a_choice_names_all_there_is_to_choose() -> None:
    helps = {option.flag: option.help for option in OPTIONS}
    assert all(name in helps["--arch"] for name in NETWORKS if name not in DISCRIMINATORS)
    for option in OPTIONS:
        if option.setting in all_leaves():
            hint = all_leaves()[option.setting][0]
            choices = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
            assert all(str(choice) in option.help for choice in choices), option.flag


def test_only_what_was_typed_is_gathered() -> None:
    typed = dict.fromkeys((option.parameter for option in OPTIONS), None)
    assert gather(typed) == {"overrides": {}}


def test_typed_values_go_to_their_nested_places() -> None:
    typed = {"size": 32, "ratio": 0.5, "flip": False, "lambda_dcd": 2.0, "max_time": "2m"}
    assert gather(typed) == {
        "ratio": 0.5,
        "overrides": {
            "data": {"size": 32, "flip": False},
            "method": {"options": {"lambda_dcd": 2.0}},
            "schedule": {"max_seconds": 120.0},
        },
    }


@pytest.mark.parametrize("on", [True, False])
def test_student_gan_switches_both_sides_of_the_game(on: bool) -> None:
    options = gather({"student_gan": on})["overrides"]["method"]["options"]
    assert options == {"student_fools_discriminator": on, "student_in_discriminator": on}


def test_one_side_of_the_game_can_be_switched_back_on() -> None:
    typed = {"student_gan": False, "student_in_discriminator": True}
    options = gather(typed)["overrides"]["method"]["options"]
    assert options == {"student_fools_discriminator": False, "student_in_discriminator": True}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("90", 90),
        ("90s", 90),
        ("25m", 1500),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("1h1m1s", 3661),
        (" 2m ", 120),
    ],
)
def test_times_are_read_as_they_are_written(text: str, wanted: float) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize(("text", "value"), [("auto", "auto"), ("10", 10.0), (" 0.41", 0.41)])
def test_a_weight_of_r1_is_a_number_or_auto(text: str, value: float | str) -> None:
    options = gather({"r1_gamma": text})["overrides"]["method"]["options"]
    assert options == {"r1_gamma": value}


@pytest.mark.parametrize("text", ["", "soon", "-5m", "5m1h", "m", "1e3", "nan", "1d"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--max-time .*90s, 25m or 1h30m"):
        seconds(text)


def test_put_keeps_what_is_already_there() -> None:
    nested: dict[str, Any] = {"a": {"b": 1}}
    put(nested, "a.c.d", 2)
    assert nested == {"a": {"b": 1, "c": {"d": 2}}}
