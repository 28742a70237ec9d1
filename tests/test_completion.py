"""Shell completion offers commands, names in the tables and datasets, and never imports torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gancomp.completion import COMPLETERS, complete_dataset, complete_metrics, completer_of
from gancomp.declare import Option
from gancomp.options import all_options

BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "numpy", "scipy"):
            raise ImportError(f"{name} is not to be imported")
sys.meta_path.insert(0, Blocker())
sys.argv = ["gancomp"]
from gancomp.__main__ import main
main()
"""


def offered(typed: str, folder: Path) -> list[str]:
    """What bash gets for a Tab at the end of `typed`."""
    words = typed.split(" ")
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "_GANCOMP_COMPLETE": "complete_bash",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(len(words) - 1),
        },
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("gancomp dist", ["distill"]),
        ("gancomp distill --method dc", ["dcd"]),
        ("gancomp distill --preset dcd-r", ["dcd-released"]),
        ("gancomp distill --arch unet", ["unet256", "unet128"]),
        ("gancomp distill --dataset horse", ["horse2zebra", "horses"]),
    ],
)
def test_commands_methods_presets_networks_and_datasets_are_offered_without_torch(
    typed: str, expected: list[str], tmp_path: Path
) -> None:
    (tmp_path / "horses").mkdir()
    assert offered(typed, tmp_path) == expected


def test_datasets_are_known_names_and_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("photos/a", "photos/b", ".hidden"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "phone.txt").touch()
    assert complete_dataset("ph") == ["photos"]
    assert complete_dataset("photos/") == ["photos/a", "photos/b"]
    assert ".hidden" not in complete_dataset("")
    assert complete_dataset(".h") == [".hidden"]
    assert complete_dataset("nowhere/") == []


def test_the_last_of_several_metrics_is_completed() -> None:
    assert "fid" in complete_metrics("")
    assert complete_metrics("kid,rec") == ["kid,recall"]


@pytest.mark.parametrize("option", all_options(), ids=lambda option: option.name)
def test_what_is_offered_for_an_option_is_what_it_takes(option: Option) -> None:
    complete = completer_of(option.parameter, option.choices)
    if option.choices and option.parameter not in COMPLETERS:
        assert complete is not None
        assert complete("") == list(option.choices)
    else:
        assert (complete is None) == (option.parameter not in COMPLETERS)
