"""Files that are read back: whatever is wrong in them is said with the file and the key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gancomp.config import read_toml, wrong_kinds
from gancomp.errors import ConfigError, RunError
from gancomp.records import Record, check_schema, parse_json, read_record, shown, versioned
from gancomp.settings import Settings


def record(values: Any) -> Record:
    return Record(values, Path("run/config.json"), way_out="choose another `out`")


@pytest.mark.parametrize(
    ("values", "key", "kind", "needle"),
    [
        ({}, "preset", dict, "no preset in it"),
        ({"preset": None}, "preset", dict, "no preset in it"),
        ({"dataset": {}}, "dataset.root", str, "no dataset.root in it"),
        ({"dataset": 5}, "dataset.root", str, "dataset should be a table, and is 5"),
        ({"step": "3"}, "step", int, "step should be a whole number, and is '3'"),
        ({"step": True}, "step", int, "step should be a whole number, and is True"),
        ({"fid": float("inf")}, "fid", float, "fid should be a finite number, and is inf"),
        ({"step": 10**5000}, "step", str, "step should be text, and is a very long int"),
        ({"flip": 1}, "flip", bool, "flip should be true or false, and is 1"),
    ],
)
def test_what_is_missing_or_of_another_kind_is_named(
    values: Any, key: str, kind: type, needle: str
) -> None:
    with pytest.raises(RunError) as error:
        record(values).get(key, kind)
    assert str(error.value) == f"run/config.json: is damaged ({needle}); choose another `out`"


@pytest.mark.parametrize("values", [5, [], None, "text"])
def test_what_is_no_table_is_refused(values: Any) -> None:
    with pytest.raises(RunError, match="it should be a table"):
        record(values)


def test_whole_numbers_are_numbers_and_what_may_be_missing_is_none() -> None:
    assert record({"a": {"b": 2}}).get("a.b", float) == 2
    assert record({"a": None}).find("a.b.c", float) is None
    assert [item.get("x", int) for item in record({"l": [{"x": 1}, {"x": 2}]}).records("l")] == [
        1,
        2,
    ]
    with pytest.raises(RunError, match=r"l\[1\] should be a table, and is 1"):
        record({"l": [{}, 1]}).records("l")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, "{", "", "\x00"])
def test_json_that_cannot_be_read_is_a_value_error_and_names_its_file(
    text: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_json(text)
    (tmp_path / "eval.json").write_text(text)
    with pytest.raises(RunError, match=r"eval\.json: is damaged \(.+\); restore it") as error:
        read_record(tmp_path / "eval.json", way_out="restore it")
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "eval.json").write_bytes(b'{"\xff\xfe": 1}')
    with pytest.raises(RunError, match="is damaged"):
        read_record(tmp_path / "eval.json", way_out="restore it")


def test_long_values_are_shown_short() -> None:
    assert shown("x" * 500) == "'" + "x" * 39 + "..."
    assert shown(10**5000) == "a very long int"


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 100_000, "a = " + "9" * 5000, "a", "a = 1\na = 2", "a = '\ud800'"]
)
def test_toml_that_cannot_be_read_is_refused_by_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError, match=r"c\.toml: is not valid TOML"):
        read_toml(tmp_path / "c.toml")


@pytest.mark.parametrize(
    ("values", "needle"),
    [
        ({"data": 5}, "data = 5: should be a table"),
        ({"data": {"dataset": 5}}, "data.dataset 5: should be of type str"),
        ({"data": {"strict": "yes"}}, "data.strict 'yes': should be of type bool"),
        ({"data": {"size": 16**5000}}, None),  # of the right kind; its size is checked later
        ({"data": {"direction": [1]}}, "data.direction [1]: not one of AtoB, BtoA"),
        ({"teacher": {"network": {"arch": 1}}}, "teacher.network.arch 1: should be of type str"),
        ({"student": []}, "student = []: should be a table"),
        ({"method": {"options": 1}}, "method.options = 1: should be a table"),
        ({"stages": {"student_source": 1.5}}, "stages.student_source 1.5"),
        (json.loads('{"run": {"seed": null}}'), "run.seed None: should be of type int"),
    ],
)
def test_incomplete_settings_of_another_kind_are_named(values: Any, needle: str | None) -> None:
    problems = wrong_kinds(Settings, values)
    assert len(problems) == (needle is not None)
    assert needle is None or problems[0].startswith(needle)


@pytest.mark.parametrize("values", [{}, versioned({}), {"schema": "x"}, {"schema": True}])
def test_files_of_this_schema_and_of_before_there_was_one_are_read(values: dict[str, Any]) -> None:
    check_schema(values, Path("run/config.json"))


def test_a_file_of_a_later_schema_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(versioned({"settings": {}}) | {"schema": 2}))
    with pytest.raises(RunError, match=r"config\.json: is of schema 2, this gancomp reads up to 1"):
        read_record(path, way_out="", error=ConfigError)
