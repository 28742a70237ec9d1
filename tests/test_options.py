"""Options are derived from what settings and methods declare; every flag leads to one setting."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import typing
from dataclasses import dataclass
from typing import Any

import pytest

from gancomp import options, registry
from gancomp.declare import Option, Unused, options_of, seconds, setting, without_none
from gancomp.errors import ConfigError
from gancomp.options import all_options, field_of, gather, method_options, options_for, put
from gancomp.registry import (
    METHODS,
    NETWORK_OPTIONS,
    PRETRAINING,
    network_options,
    options_type,
    resolve,
)
from gancomp.settings import Overrides, Settings

# scripts depend on them; a star marks what `pretrain` lacks
PUBLISHED = """
--accumulation --adv-weight --al-start-step* --arch --batch-size --blocks --budget* --cache
--checkpoint-every --compile --config --connector* --content-scale --content-tap
--d-layers --d-lr --d-multiplier* --d-norm --d-width --dataset --decay-epochs --device
--direction --discriminator-from-teacher/--fresh-discriminator* --dropout --ema-beta
--ema-kimg --ema-start --epochs --eval-every* --flip/--no-flip
--freeze-teacher/--train-teacher* --gan --held-out* --kd-adv-weight* --kd-loss*
--kd-weight* --keep-checkpoints --lambda-cycle --lambda-dcd* --lambda-dgl*
--lambda-feature* --lambda-identity --lambda-l1 --lambda-student* --lambda-style*
--latency-budget* --load-size --log-every --lr --max-steps --max-time --method*
--narrow-const/--wide-const* --norm --objective --out --path-every --path-weight
--perceptual --perceptual-normalise/--no-perceptual-normalise --pool-size --precision
--preset --r1-every --r1-gamma --rate-drop-step --ratio* --resume/--no-resume
--sample-every --scale --seed --select* --shrink* --size --srresnet-lr --stage1-kimg* --stage2-kimg*
--strict/--no-strict --student* --student-arch* --student-block-epochs* --student-blocks*
--student-fools-discriminator/--no-student-fools-discriminator*
--student-gan/--no-student-gan* --student-in-discriminator/--no-student-in-discriminator*
--student-srresnet-steps* --student-width* --style-mixing --task --teacher
--teacher-block-epochs* --teacher-content-steps* --teacher-d* --teacher-gan-steps*
--teacher-kimg --teacher-srresnet-steps --tensorboard/--no-tensorboard --train-connectors*
--vgg --width --workers
"""


NETWORK_PATHS = ("teacher.network.", "student.", "discriminator.")


def fields_at(path: str) -> dict[str, Any]:
    """Field name -> type without None, of the settings at a dotted path."""
    kind: Any = Settings
    for name in path.split("."):
        kind = without_none(typing.get_type_hints(kind)[name])
    return {name: without_none(hint) for name, hint in typing.get_type_hints(kind).items()}


def type_of(option: Option) -> Any:
    if option.setting.startswith("method.options."):
        name = option.setting.rpartition(".")[2]
        kinds = [options_type(owner.removeprefix("--method ")) for owner in option.owners]
        (hint, *others) = [typing.get_type_hints(kind)[name] for kind in kinds]
        assert all(other == hint for other in others)
        return without_none(hint)
    if option.setting.startswith("shrink_options."):
        name = option.setting.rpartition(".")[2]
        kinds = [
            options_type(owner.removeprefix("--shrink "), "shrinker") for owner in option.owners
        ]
        (hint, *others) = [typing.get_type_hints(kind)[name] for kind in kinds]
        assert all(other == hint for other in others)
        return without_none(hint)
    if option.setting.startswith(NETWORK_PATHS) and not option.setting.endswith(".width"):
        name = option.setting.rpartition(".")[2]
        kinds = [network_options(arch) for arch in NETWORK_OPTIONS]
        hints = [typing.get_type_hints(kind).get(name) for kind in kinds]
        (hint, *others) = [hint for hint in hints if hint is not None]
        assert all(other == hint for other in others)
        return without_none(hint)
    if "." in option.setting:
        path, _, name = option.setting.rpartition(".")
        return fields_at(path)[name]
    return without_none(typing.get_type_hints(Overrides)[option.setting])


@pytest.mark.parametrize("flag", PUBLISHED.split())
def test_every_published_flag_stays_valid(flag: str) -> None:
    rows = {row.flag for row in options_for("distill")}
    in_pretrain = {row.flag for row in options_for("pretrain")}
    assert flag.removesuffix("*") in rows
    assert (flag in in_pretrain) == (not flag.endswith("*"))


@pytest.mark.parametrize("option", all_options(), ids=lambda option: option.flag)
def test_an_option_reaches_an_existing_setting_of_its_type(option: Option) -> None:
    if option.sets == (option.setting,):
        hint = type_of(option)
        literal = typing.get_origin(hint) is typing.Literal
        assert option.reads is not None or option.kind is (str if literal else hint)
        choices = typing.get_args(hint) if literal else ()
        assert all(str(choice) in option.help for choice in choices)
    assert option.help.endswith(".")
    assert option.default


@pytest.mark.parametrize("name", METHODS)
def test_a_methods_options_are_those_of_its_class(name: str) -> None:
    method = resolve(METHODS, "method", name)
    assert options_type(name) is method.Options
    assert method.distills == (name not in PRETRAINING)


def test_an_option_of_several_methods_names_them_all() -> None:
    rows = {row.name: row for row in all_options()}
    assert rows["--lambda-dgl"].owners == ("--method dgl",)
    assert rows["--r1-gamma"].owners == ("--method dgl", "--method gan")
    assert rows["--kd-weight"].owners == tuple(
        f"--method {name}" for name in ("gan2g", "gan2g-al", "g2g-al", "gan2gan")
    )
    assert rows["--ratio"].owners == ()


def test_the_options_and_what_can_be_completed_need_no_torch() -> None:
    code = (
        "import sys, gancomp.cli, gancomp.presets; from gancomp.options import all_options; "
        "all_options(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@dataclass(frozen=True)
class Mine:
    """A method's knobs as a stranger writes them."""

    strength: float = setting(
        0.5,
        "--strength",
        "How strong.",
        least=0.0,
        equation="3",
        unit="gray levels",
        unused=(Unused(lambda settings, options: True, "anything"),),
    )
    sharp: bool = setting(True, "--sharp", "Whether it is sharp.")
    unseen: int = setting(3)


def test_a_declaration_becomes_an_option() -> None:
    strength, sharp = options_of(Mine, "method.options", ("--method mine",))
    assert (strength.flag, strength.kind, strength.default) == ("--strength", float, "0.5")
    assert (strength.setting, strength.panel) == ("method.options.strength", "Method")
    assert (strength.equation, strength.unit) == ("3", "gray levels")
    assert [case.reason for case in strength.unused] == ["anything"]
    assert (sharp.flag, sharp.kind, sharp.default) == ("--sharp/--no-sharp", bool, "sharp")
    assert [item.name for item in dataclasses.fields(Mine)][2] == "unseen"


def test_two_methods_cannot_declare_one_flag_in_two_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Other:
        other: int = setting(1, "--lambda-dgl", "Something else.")

    monkeypatch.setattr(registry, "options_type", lambda name: Other)
    monkeypatch.setattr(
        options, "options_type", lambda name: Other if name == "gan" else options_type(name)
    )
    with pytest.raises(ConfigError, match=r"`lambda_dgl`: method gan declares it in another way"):
        all_options.__wrapped__()


def test_a_flag_is_found_by_its_setting() -> None:
    assert field_of("method.options.lambda_dgl") == "`lambda_dgl`"
    assert field_of("data.size") == "`size`"
    assert field_of("optimizer.beta1") == "optimizer.beta1"
    assert {row.name for row in method_options("teacher-only")} == set()


def test_only_what_was_typed_is_gathered() -> None:
    typed = dict.fromkeys((option.parameter for option in all_options()), None)
    assert gather(typed) == {"settings": {}}


def test_typed_values_go_to_their_nested_places() -> None:
    typed = {"size": "32", "ratio": 0.5, "flip": False, "lambda_dcd": 2.0, "max_time": "2m"}
    assert gather(typed) == {
        "ratio": 0.5,
        "settings": {
            "data": {"size": 32, "flip": False},
            "method": {"options": {"lambda_dcd": 2.0}},
            "schedule": {"max_seconds": 120.0},
        },
    }


@pytest.mark.parametrize("on", [True, False])
def test_student_gan_switches_both_sides_of_the_game(on: bool) -> None:
    options = gather({"student_gan": on})["settings"]["method"]["options"]
    assert options == {"student_fools_discriminator": on, "student_in_discriminator": on}


def test_one_side_of_the_game_can_be_switched_back_on() -> None:
    typed = {"student_gan": False, "student_in_discriminator": True}
    options = gather(typed)["settings"]["method"]["options"]
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


@pytest.mark.parametrize("text", ["", "soon", "-5m", "5m1h", "m", "1e3", "nan", "1d"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match=r"`max_time` .*90s, 25m or 1h30m"):
        seconds(text)


def test_put_keeps_what_is_already_there() -> None:
    nested: dict[str, Any] = {"a": {"b": 1}}
    put(nested, "a.c.d", 2)
    assert nested == {"a": {"b": 1, "c": {"d": 2}}}


@pytest.mark.parametrize(("text", "value"), [("auto", "auto"), ("10", 10.0), (" 0.41", 0.41)])
def test_a_weight_of_r1_is_a_number_or_auto(text: str, value: float | str) -> None:
    options = gather({"r1_gamma": text})["settings"]["method"]["options"]
    assert options == {"r1_gamma": value}
