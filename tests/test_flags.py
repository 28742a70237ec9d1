"""Libraries speak of fields; the command line alone speaks of flags."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

import gancomp
from gancomp import console
from gancomp.errors import ConfigError
from gancomp.flags import as_typed
from gancomp.options import all_options

ROOT = Path(gancomp.__file__).parent
# beside *commands.py: modules of the command line, and what names flags of other programs
OF_THE_COMMAND_LINE = {
    "__main__.py",
    "cli.py",
    "completion.py",
    "flags.py",
    "network_options.py",
    "options.py",
    "plugins.py",
    "bench/fid.py",
    "export/biggan.py",
}
FLAG = re.compile(r"(?<![\w/.=-])--[a-z]")
A_COMMAND = re.compile(r"gancomp [a-z][a-z-]*( [^;:,(]*)?$")  # a whole one may be advised
# declares a flag or names a choice
NO_MESSAGE = re.compile(r"--[a-z0-9-]+( [\w.:-]+)?|--(no-)?")


@pytest.mark.parametrize(
    ("said", "typed"),
    [
        ("`batch_size` 0: must be", "--batch-size 0: must be"),
        ("use a smaller `size` or `width`", "use a smaller --size or --width"),
        ("continue it with `resume=True`", "continue it with --resume"),
        ("give `flip=False`", "give --no-flip"),
        ("give `freeze_teacher=False`", "give --train-teacher"),
        ("give `mirror=False`", "give --no-mirror"),
        ("`n` 0: must be", "-n 0: must be"),
        ("/a/`A B`/x, a_b, Conv2d(`3`)", "/a/`A B`/x, a_b, Conv2d(`3`)"),
    ],
)
def test_fields_in_messages_become_flags(said: str, typed: str) -> None:
    assert as_typed(said) == typed
    assert as_typed(typed) == typed


@pytest.mark.parametrize("option", all_options(), ids=lambda option: option.name)
def test_every_field_becomes_the_flag_that_it_was_declared_with(option: object) -> None:
    on, _, off = option.flag.partition("/")  # type: ignore[attr-defined]  # an Option
    field = option.parameter  # type: ignore[attr-defined]  # an Option
    assert as_typed(f"`{field}`") == as_typed(f"`{field}=True`") == on
    assert not off or as_typed(f"`{field}=False`") == off


def test_the_field_of_an_error_is_what_its_message_begins_with() -> None:
    assert ConfigError("`flip=False`: is x").field == "flip"
    assert ConfigError("`width` 0: no").field == "width"
    assert ConfigError("a.png: use `size`").field is None


def test_what_is_shown_speaks_of_flags(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("use `size` [1]")
    console.stdout.print("use `width`")
    console.print_table(["a"], [["use `lr`"]])
    out, err = capsys.readouterr()
    assert err == "use --size [1]\n"
    assert "use --width\n" in out
    assert "use --lr" in out


def test_messages_in_json_speak_of_flags_and_names_of_files_stay(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed = [{"file": "`size`.png", "error": "give `in_range`"}]
    console.print_json({"failed": failed, "problems": ["use `task`"], "root": "`lr`"})
    document = json.loads(capsys.readouterr().out)
    assert document["failed"] == [{"file": "`size`.png", "error": "give --in-range"}]
    assert (document["problems"], document["root"]) == (["use --task"], "`lr`")


def messages(tree: ast.Module) -> list[str]:
    """The texts in a module that are no docstrings."""
    documented = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in documented
    ]


def flags_in(text: str) -> list[str]:
    """What a message says of the command line though a library says it."""
    if NO_MESSAGE.fullmatch(text):
        return []
    return [text for match in FLAG.finditer(text) if not A_COMMAND.search(text[: match.start()])]


def test_libraries_name_fields_and_not_flags() -> None:
    found = {
        str(file.relative_to(ROOT)): wrong
        for file in sorted(ROOT.rglob("*.py"))
        if str(file.relative_to(ROOT)) not in OF_THE_COMMAND_LINE
        and not file.name.endswith("commands.py")
        and file.parent.name != "report"  # whose pages hold commands to be typed
        and (wrong := [t for m in messages(ast.parse(file.read_text())) for t in flags_in(m)])
    }
    assert found == {}, "write `batch_size`, not --batch-size: see GancompError"


def test_a_flag_in_a_message_is_noticed() -> None:
    code = 'f(f"--lr {w}: no", "use --lr", "--lr", "--method dgl")\n"""Of --size."""'
    assert [t for m in messages(ast.parse(code)) for t in flags_in(m)] == ["use --lr", "--lr "]
    assert flags_in("give gancomp pretrain --task synthesis") == []
