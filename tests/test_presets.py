"""The rows of settings: those of a teacher alone, and those beside each method's options."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gancomp.errors import ConfigError
from gancomp.plugins import forget_plugins, load_plugins
from gancomp.preset_parts import Preset
from gancomp.presets import all_presets, find_preset
from gancomp.registry import METHODS

# digests of rows that runs of earlier versions name: a changed one changes what they resume
KNOWN = {
    "pretrain standard unpaired mobile-resnet9 any": "79173367",
    "pretrain standard unpaired resnet9 horse2zebra": "29ae03f2",
    "pretrain standard unpaired resnet9 summer2winter": "03124a86",
    "pretrain standard paired unet256 edges2shoes": "ac47ddac",
    "pretrain standard paired unet256 any": "dbe61309",
    "pretrain standard paired mobile-resnet9 any": "466b241b",
    "distill dcd unpaired mobile-resnet9 horse2zebra": "b1639e43",
    "distill dcd unpaired mobile-resnet9 summer2winter": "2bfa648f",
    "distill dcd paired unet256 edges2shoes": "54df7bcf",
    "distill dcd unpaired mobile-resnet9 any": "f97ca7ef",
    "distill dcd paired unet256 any": "adb07cb8",
    "distill dcd paired mobile-resnet9 any": "e2f52794",
    "pretrain demo unpaired mobile-resnet6 any": "5484aa57",
    "distill demo unpaired mobile-resnet6 any": "de9b773f",
    "distill dcd-released unpaired mobile-resnet9 summer2winter": "53bb7efd",
    "distill dcd-released unpaired mobile-resnet9 any": "2ff0944f",
    "distill dcd-released paired mobile-resnet9 any": "f26db926",
    "distill dcd-released paired unet256 any": "64db38c7",
    "pretrain div2k-x4 super-resolution srresnet any": "400d9798",
    "pretrain sr-short super-resolution srresnet any": "1e1fc9da",
    "distill div2k-x4 super-resolution srresnet any": "3bef8205",
    "distill sr-short super-resolution srresnet any": "82be0f32",
    "pretrain standard synthesis stylegan2 any": "1199dff3",
    "pretrain synthesis-short synthesis stylegan2 any": "477b0d59",
    "distill dgl synthesis stylegan2 any": "c4898ce0",
    "distill dgl-short synthesis stylegan2 any": "4ca739de",
    "pretrain standard synthesis biggan any": "b07c3271",
    "pretrain synthesis-short synthesis biggan any": "51e0b511",
    "distill dgl synthesis biggan any": "c34ea044",
    "distill dgl-short synthesis biggan any": "b9e25c6d",
    "pretrain standard-church synthesis stylegan2 any": "0728e80e",
    "distill dgl-church synthesis stylegan2 any": "ee67ed59",
}
# what released scripts say of their own GANs, beside their methods' weights: widths of teacher and
# discriminator, dropout, GAN loss, batch, size before the crop
HINGE, LOGS = ("hinge", 128), ("vanilla", 64)
GANS = {
    "gan-compression mobile-resnet9 cityscapes": (96, None, HINGE, 1, None),
    "gan-compression mobile-resnet9 edges2shoes": (64, None, HINGE, 4, None),
    "dmad unet256 cityscapes": (64, 0.5, HINGE, 1, 256),
    "dmad unet256 edges2shoes": (64, 0.5, HINGE, 4, 256),
    "dmad-released unet256 cityscapes": (64, 0.5, HINGE, 1, 256),
    "gcc unet256 any": (64, 0.5, HINGE, 1, 256),
    "gcc unet256 edges2shoes": (64, 0.5, HINGE, 4, 256),
    "gcc-released unet256 any": (64, 0.5, HINGE, 1, 256),
    "wavelet-kd unet256 edges2shoes": (64, 0.5, LOGS, 1, None),
    "wavelet-kd-released unet256 any": (64, 0.5, LOGS, 1, None),
    "omgd unet256 cityscapes": (64, None, HINGE, 4, None),
    "omgd unet256 edges2shoes": (64, None, HINGE, 4, None),
}
PLUGIN = '''
from dataclasses import dataclass
from gancomp.declare import setting
from gancomp.methods.base import Method
from gancomp.preset_parts import PAPER_SCHEDULE, Preset, unpaired

@dataclass(frozen=True)
class PlainOptions:
    """One knob."""

    weight: float = setting(1.0, "--plain-weight", "A weight.", least=0.0)


class Plain(Method):
    """Nothing but a name."""

    name = "plain"
    paper = "none"
    Options = PlainOptions

PRESETS = (
    Preset("plain", "distill", "{method}", "unpaired", "resnet6", None,
           unpaired() | PAPER_SCHEDULE, "nobody's"),
)
GANCOMP = {{"methods": {{"plain": Plain}}, "method_options": {{"plain": PlainOptions}}}}
'''


@pytest.fixture(autouse=True)
def _nothing_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("GANCOMP_PLUGINS", raising=False)
    yield
    forget_plugins()


def digest(row: Preset) -> str:
    values = dataclasses.asdict(row)
    for name, usual in (("student", {}), ("direction", "AtoB")):  # rows of before had neither
        if values[name] == usual:
            del values[name]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def key(row: Preset) -> str:
    return " ".join((row.command, row.name, row.task, row.arch, row.dataset or "any"))


def test_no_row_is_changed_by_where_it_stands() -> None:
    rows = {key(row): digest(row) for row in all_presets()}
    assert len(rows) == len(all_presets())
    assert {name: rows.get(name) for name in KNOWN} == KNOWN


@pytest.mark.parametrize(
    ("command", "task", "method", "name"),
    [
        ("distill", "unpaired", None, "dcd"),
        ("distill", "unpaired", "dcd", "dcd"),
        ("distill", "super-resolution", "gan2g", "div2k-x4"),
        ("pretrain", "synthesis", "gan", "standard"),
        ("pretrain", "unpaired", None, "standard"),
    ],
)
def test_a_methods_first_row_is_its_default(
    command: str, task: str, method: str | None, name: str
) -> None:
    row = find_preset(command, task, name=None, dataset="mine", arch=None, method=method)
    assert row.name == name


def test_paired_rows_have_the_gan_of_their_released_scripts() -> None:
    found = {}
    for row in all_presets():
        if row.task != "paired":
            continue
        network, data = row.settings["teacher"]["network"], row.settings["data"]
        gan = (row.settings["adversarial"]["gan"], row.settings["discriminator"]["width"])
        shown = (network["width"], network.get("dropout"), gan, data["batch_size"])
        found[f"{row.name} {row.arch} {row.dataset or 'any'}"] = (*shown, data.get("load_size"))
        assert row.student.get("dropout") == network.get("dropout")  # whoever the teacher is
    assert {name: found[name] for name in GANS} == GANS


@pytest.mark.parametrize("name", METHODS)
def test_rows_of_a_method_are_of_the_command_that_it_is_for(name: str) -> None:
    rows = [row for row in all_presets() if row.method == name]
    assert len({row.command for row in rows}) <= 1


def write_plugin(folder: Path, method: str) -> str:
    file = folder / "plain.py"
    file.write_text(PLUGIN.format(method=method))
    return str(file)


def test_a_plug_in_brings_its_rows(tmp_path: Path) -> None:
    load_plugins(["--plugin", write_plugin(tmp_path, "plain")])
    row = find_preset("distill", "unpaired", name=None, dataset="mine", arch=None, method="plain")
    assert (row.name, row.method, row.arch) == ("plain", "plain", "resnet6")
    forget_plugins()
    assert all(row.method != "plain" for row in all_presets())


def test_a_plug_in_with_rows_of_no_method_is_refused(tmp_path: Path) -> None:
    load_plugins(["--plugin", write_plugin(tmp_path, "plane")])
    with pytest.raises(ConfigError, match="a row of method plane is no .*known: dcd, "):
        all_presets()
