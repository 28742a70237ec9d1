"""`distill --shrink NAME --budget …`: every way to shrink by its name, its options and weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import SMALL, run_command, write_model

from gancomp.data.demo_set import write_demo_set
from gancomp.declare import setting
from gancomp.engine.run import RunFolder
from gancomp.errors import CheckpointError, ConfigError
from gancomp.networks.base import initialize
from gancomp.options import forget
from gancomp.planning import shrinking
from gancomp.planning.plan import make_plan
from gancomp.registry import (
    NETWORKS,
    ORIGINS,
    SHRINKER_OPTIONS,
    SHRINKERS,
    build_network,
    resolve,
)
from gancomp.settings import NetworkSettings, Overrides
from gancomp.shrink.base import ShrinkRequest, Shrunk
from gancomp.training.steps import describe_run


@dataclass(frozen=True)
class CutOptions:
    cut_rounds: int = setting(1, "--cut-rounds", "How often it halves.", least=1)


class Cut:
    """Halves the width as often as it is told, and brings weights along."""

    from_settings = False
    Options = CutOptions

    def __init__(self, options: CutOptions) -> None:
        self.options = options

    def read(self, asked: str, budget: str) -> float:
        if not budget.endswith("x"):
            raise ConfigError(f"{asked}: is no factor; write 2x")
        return float(budget[:-1])

    def shrink(self, request: ShrinkRequest) -> Shrunk:
        width = int(request.teacher.width / request.budget**self.options.cut_rounds)
        student = replace(request.student, width=width)
        network = build_network(student.arch, **student.arguments())
        initialize(network, torch.Generator().manual_seed(77))
        return Shrunk(student, network.state_dict(), {"width": width})


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(SHRINKERS, "cut", f"{__name__}:Cut")
    monkeypatch.setitem(SHRINKER_OPTIONS, "cut", f"{__name__}:CutOptions")
    forget()
    yield
    monkeypatch.undo()
    forget()


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_demo_set(tmp_path / "toy", size=32, train=2, test=1)
    return tmp_path / "toy"


def student_of(toy: Path, **given: Any) -> Any:
    values = {"data": {"dataset": str(toy), "size": 32}, "perceptual": {"source": "none"}}
    values |= given.pop("settings", {})
    return make_plan("distill", Overrides(values, **given), print).settings.student


@pytest.mark.parametrize("budget", ["50%", "0.5", " 50 % ".replace(" %", "%")])
def test_ratio_by_its_name_is_ratio(toy: Path, budget: str) -> None:
    assert student_of(toy, shrink="ratio", budget=budget) == student_of(toy, ratio=0.5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"shrink": "rato", "budget": "50%"}, "`shrink` rato: unknown; did you mean ratio"),
        ({"shrink": "ratio"}, "`shrink` ratio: needs `budget`"),
        ({"budget": "50%"}, "`budget`: needs `shrink` ratio|latency"),
        ({"shrink": "ratio", "budget": "half"}, "`shrink` ratio `budget` half: is no share"),
        ({"shrink": "ratio", "budget": "0%"}, "`budget` 0%: must be greater than 0"),
        ({"shrink": "latency", "budget": "soon"}, "`budget` soon: is no time; write 25ms"),
        ({"shrink": "ratio", "budget": "1", "ratio": 0.5}, "`ratio` and `shrink`: give one"),
        (
            {"shrink": "latency", "budget": "1", "latency_budget": "25ms"},
            "`latency_budget` and `shrink`: give one",
        ),
    ],
)
def test_what_cannot_be_shrunk_to_is_one_line(toy: Path, given: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        student_of(toy, **given)
    assert said in str(caught.value)


def test_a_way_of_ones_own_has_its_options_and_hands_weights_to_the_student(
    cut: None, toy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = f"distill --dataset {toy} {SMALL} --perceptual none --lr 1e-9 --out run"
    shown = run_command(capsys, "distill", "--shrink", "cut", "--help").out
    assert "--cut-rounds" in shown
    assert "--cut-rounds" not in run_command(capsys, "distill", "--help").out
    typed = f"{base} --shrink cut --budget 2x --cut-rounds 2".split()
    assert run_command(capsys, *typed).status == 0
    config = json.loads(Path("run/config.json").read_text())
    kept = {"by": "cut", "budget": "2x", "options": {"cut_rounds": 2}, "width": 2}
    assert config["shrink"] == kept
    assert config["settings"]["student"]["width"] == 2
    wanted = build_network("mobile-resnet6", width=2)
    initialize(wanted, torch.Generator().manual_seed(77))
    kept = shrinking.load_initial(Path("run"))
    assert kept is not None
    assert all(torch.equal(kept[name], value) for name, value in wanted.state_dict().items())
    profiled = run_command(capsys, "profile", "run", "--json").document["models"]
    assert [row["width"] for row in profiled] == [8, 2]
    refused = run_command(capsys, *f"{base} --cut-rounds 2".split())
    assert "--cut-rounds: needs --shrink" in refused.err
    refused = run_command(capsys, *f"{base} --shrink cut --budget 2x --cut-rounds 0".split())
    assert "--cut-rounds 0: must be at least 1" in refused.err


def test_a_run_killed_before_its_first_checkpoint_begins_with_the_same_weights(
    cut: None, toy: Path
) -> None:
    values: Any = {"data": {"dataset": str(toy), "size": 32}, "perceptual": {"source": "none"}}
    begun = make_plan(
        "distill", Overrides(values, shrink="cut", budget="16x", out=Path("run")), print
    )
    assert begun.initial is not None
    RunFolder(Path("run")).path.mkdir()
    shrinking.save_initial(Path("run"), begun.initial)
    again = shrinking.load_initial(Path("run"))
    assert again is not None
    assert all(torch.equal(again[name], value) for name, value in begun.initial.items())
    (Path("run") / shrinking.INITIAL).write_bytes(b"cut")
    with pytest.raises(CheckpointError, match="initial.safetensors: cannot be read"):
        shrinking.load_initial(Path("run"))


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ConfigError, match="`shrink`: its weights do not fit its student"):
        shrinking.fill(build_network("mobile-resnet6", width=2), {"x": torch.zeros(1)})


def test_a_network_without_a_width_is_built_without_one_and_refuses_to_be_asked_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain_net.py").write_text("def plain(*, in_channels=3, out_channels=3): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(NETWORKS, "plain", "plain_net:plain")
    assert NetworkSettings("plain", in_channels=1).arguments() == {"in_channels": 1}
    assert "width" in NetworkSettings("resnet9").arguments()
    shrinking.refuse_width("plain", None, None)
    shrinking.refuse_width("resnet9", "`ratio` 0.5")
    with pytest.raises(ConfigError, match=r"^`ratio` 0\.5: plain has no width; remove it"):
        shrinking.refuse_width("plain", None, "`ratio` 0.5")


def test_a_search_on_other_data_than_its_own_is_refused(toy: Path) -> None:
    data = {"data": {"dataset": str(toy / "trainA"), "task": "super-resolution", "size": 32}}
    with pytest.raises(ConfigError, match="`shrink` gcc .* paired data, not super-resolution"):
        student_of(toy, settings=data, shrink="gcc", budget="50%")


def test_a_search_of_a_plug_in_does_not_go_on_without_it(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SHRINKERS, "halves", SHRINKERS["gcc"])
    monkeypatch.setitem(SHRINKER_OPTIONS, "halves", SHRINKER_OPTIONS["gcc"])
    monkeypatch.setitem(ORIGINS, ("shrinkers", "halves"), "the file halves.py")
    values: Any = {"data": {"dataset": str(toy), "size": 32}, "perceptual": {"source": "none"}}
    out, given = Path("run"), {"shrink": "halves", "budget": "60%"}
    begun = make_plan("distill", Overrides(values, **given, out=out), print)
    config = describe_run(begun, None)
    assert (begun.search is not None, config["plugins"]) == (True, ["the file halves.py"])

    def resumed(**shrink: Any) -> Any:
        RunFolder(out).write_config(config | {"shrink": config["shrink"] | shrink})
        return make_plan("distill", Overrides(out=out, resume=True), print).search

    out.mkdir()
    assert resumed() is not None
    monkeypatch.delitem(SHRINKERS, "halves")
    with pytest.raises(ConfigError, match="has halves from a plug-in, the file halves.py;"):
        resumed()
    assert resumed(reached=True) is resumed(width=4) is None  # the student is known
    config["plugins"] = []  # as runs kept it before
    with pytest.raises(ConfigError, match="has halves from a plug-in; install it, or name"):
        resumed()


PRUNING = [name for name in SHRINKERS if getattr(resolve(SHRINKERS, "", name), "prunes", False)]


@pytest.mark.parametrize("by", PRUNING)
def test_what_prunes_the_teacher_keeps_its_architecture_whatever_the_preset_says(
    by: str, toy: Path
) -> None:
    if by == "magnitude":
        pytest.importorskip("torch_pruning", reason="needs the extra prune")
    assert PRUNING == ["magnitude", "cat", "co-evolution"]
    teacher = write_model(toy.parent / "teacher.safetensors", "resnet9")
    network = {"teacher": {"source": str(teacher)}}

    def student(**given: Any) -> NetworkSettings:
        found: NetworkSettings = student_of(toy, **given, settings=network)
        return found

    assert student().arch == "mobile-resnet9"  # the preset's
    assert student(shrink=by, budget="50%").arch == "resnet9"
