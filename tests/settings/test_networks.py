"""A network's own options: declared by it, on the command line, in files, checked, refused."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from commands import SMALL, run_command

from gancomp.config import read
from gancomp.data.demo_set import write_demo_set
from gancomp.errors import ConfigError
from gancomp.registry import NETWORK_OPTIONS, NETWORKS, network_options, resolve
from gancomp.settings import NetworkSettings
from gancomp.settings.networks import network_field


@pytest.mark.parametrize("arch", NETWORK_OPTIONS)
def test_a_network_declares_its_factory_s_parameters(arch: str) -> None:
    parameters = inspect.signature(resolve(NETWORKS, "arch", arch)).parameters
    fields = {item.name: item for item in dataclasses.fields(network_options(arch))}
    assert set(fields) == set(parameters) - {"width"}
    assert all(item.default in (None, parameters[name].default) for name, item in fields.items())


def test_every_network_has_its_line_of_options() -> None:
    assert set(NETWORK_OPTIONS) == set(NETWORKS)


def test_an_own_option_reads_like_a_field_and_is_none_by_default() -> None:
    network = read(NetworkSettings, {"arch": "srresnet", "width": 8, "blocks": 3, "scale": None})
    assert (network.blocks, network.scale, network.layers) == (3, None, None)
    assert network.arguments() == {"width": 8, "blocks": 3}
    assert network.changed(blocks=None, scale=2).own == {"scale": 2}
    assert network == NetworkSettings("srresnet", 8, blocks=3)
    assert pickle.loads(pickle.dumps(network)) == copy.deepcopy(network) == network


def test_settings_of_before_open_with_the_options_of_all_networks_side_by_side() -> None:
    before = {"arch": "resnet9", "width": 16, "norm": "batch", "channels": [1, 2]}
    before |= dict.fromkeys(("layers", "blocks", "scale", "crop", "num_classes", "attention"))
    network = read(NetworkSettings, before)
    assert network.own == {"norm": "batch", "channels": (1, 2)}


@pytest.mark.parametrize(
    ("path", "arch", "field"),
    [
        ("teacher.network.norm", "resnet9", "norm"),
        ("discriminator.norm", "patchgan", "d_norm"),
        ("teacher.network.blocks", "srresnet", "blocks"),
        ("student.blocks", "srresnet", "student_blocks"),
        ("student.norm", "resnet9", None),
        ("teacher.network.norm", "patchgan", None),
        ("teacher.network.width", None, "width"),
        ("student.width", "resnet9", "student_width"),
        ("run.seed", "resnet9", None),
        ("teacher.network.blocks", "nosuch", None),
    ],
)
def test_the_field_of_an_option_depends_on_the_network_s_role(
    path: str, arch: str | None, field: str | None
) -> None:
    assert network_field(path, arch) == field


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"arch": "resnet9", "blocks": 3},
            "`blocks`: `arch` resnet9 has no such option; it belongs to srresnet; resnet9 has: ",
        ),
        ({"arch": "srresnet", "blocks": 0}, "`blocks` 0: must be at least 1"),
        ({"arch": "resnet9", "norm": "layer"}, "`norm` layer: not one of instance, batch"),
        ({"arch": "resnet9", "dropout": "much"}, "`dropout` 'much': should be of type float"),
        ({"arch": "agd", "zzz": 1}, "teacher.network.zzz: `arch` agd has no such option; agd has"),
        ({"arch": "resnet9", "width": 0}, "`width` 0: must be at least 1"),
        ({"width": 8}, "`arch`: is needed"),
    ],
)
def test_mistakes_name_the_flag_and_who_has_it(values: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(NetworkSettings, values, "teacher.network")
    assert said in str(caught.value)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"`dropout` 2.0: .*; `width` 0: "):
        read(NetworkSettings, {"arch": "resnet9", "dropout": 2.0, "width": 0}, "teacher.network")


def test_a_run_s_settings_hold_a_network_s_own_options_beside_its_width(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_demo_set(Path("data"), size=32, train=2, test=1)
    command = f"distill --dataset data {SMALL} --perceptual none --norm batch --out run"
    assert run_command(capsys, *command.split()).status == 0
    settings = json.loads(Path("run/config.json").read_text())["settings"]
    assert settings["teacher"]["network"] == {
        "arch": "mobile-resnet6",
        "width": 8,
        "norm": "batch",
    }
    assert settings["student"] == {"arch": "mobile-resnet6", "width": 2, "norm": "batch"}
    assert settings["discriminator"]["layers"] == 1
    resumed = ("distill", "--resume", "--out", "run")
    assert run_command(capsys, *resumed, "--norm", "batch", "--max-steps", 2).status == 0
    refused = run_command(capsys, *resumed, "--norm", "instance")
    assert "teacher.network.norm: batch -> instance" in refused.err
    foreign = run_command(capsys, *command.replace("--out run", "--blocks 2").split())
    assert "--blocks: --arch mobile-resnet6 has no such option" in foreign.err
    assert "it belongs to srresnet" in foreign.err
