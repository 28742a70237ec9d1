"""`--precision auto` on a CPU: the faster of two trials, said, recorded and kept; no trace else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from loops import Told

from gancomp import ranks
from gancomp.config import merge
from gancomp.data.demo_set import write_demo_set
from gancomp.planning.plan import make_plan
from gancomp.recipes.distill import build, distill
from gancomp.settings import Json, Overrides
from gancomp.training import forecast, precision
from gancomp.training.precision import settle_precision

CPU = torch.device("cpu")
SMALL: Json = {
    "data": {"size": 32, "batch_size": 1},
    "teacher": {"network": {"arch": "mobile-resnet6", "width": 4}},
    "discriminator": {"width": 4, "layers": 1},
    "perceptual": {"source": "none"},
    "schedule": {"max_steps": 2},
    "run": {"workers": 0, "device": "cpu", "log_every": 1, "precision": "auto"},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("precision") / "set"
    write_demo_set(root, size=48, train=5, test=1)
    return root


def given(root: Path, out: Path | None, *, resume: bool = False, **settings: Json) -> Overrides:
    values = merge(merge(SMALL, {"data": {"dataset": str(root)}}), settings)
    return Overrides(settings=values, out=out, resume=resume)


def tried(monkeypatch: pytest.MonkeyPatch, *, half: float) -> list[str]:
    """Lets trials be made as ever, then says that a step in bf16 took `half` of one in fp32."""
    real, seen = precision.seconds_of, []

    def told(part: forecast.Part, *words: Any, **named: Any) -> float:
        assert real(part, *words, **named) is not None
        seen.append(part.plan.settings.run.precision)
        return part.steps * (half if seen[-1] == "bf16" else 1.0)

    monkeypatch.setattr(forecast, "WORTH_TIMING", 1)
    monkeypatch.setattr(precision, "seconds_of", told)
    return seen


@pytest.mark.parametrize(("half", "taken"), [(0.5, "bf16"), (0.95, "fp32")])
def test_the_run_is_the_one_with_the_precision_given_and_goes_on_in_it(
    half: float, taken: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, view, state = tried(monkeypatch, half=half), Told(), torch.get_rng_state()
    asked, named = tmp_path / "asked", tmp_path / "named"
    distill(given(root, asked), view)
    assert seen == ["fp32", "bf16"]
    assert torch.equal(torch.get_rng_state(), state)
    (line,) = [line for line in view.lines if line.startswith("`precision` auto")]
    assert line.startswith(f"`precision` auto takes {taken}: a small step took 1.00 s")
    distill(given(root, named, run={"precision": taken}), Told())
    distill(given(root, asked, resume=True, schedule={"max_steps": 3}), Told())  # auto, typed again
    distill(given(root, named, resume=True, schedule={"max_steps": 3}), Told())
    assert seen == ["fp32", "bf16"]  # no trial of a run that goes on
    config = json.loads((asked / "config.json").read_text())
    assert config["settings"]["run"]["precision"] == config["precision"]["took"] == taken
    assert config["precision"]["seconds"] == {"fp32": 1.0, "bf16": half}
    for role in ("teacher", "student"):
        files = [folder / f"{role}.safetensors" for folder in (asked, named)]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_run_from_when_auto_meant_fp32_goes_on_in_fp32(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    distill(given(root, out, run={"precision": "fp32"}), Told())
    config = json.loads((out / "config.json").read_text())
    config["settings"]["run"]["precision"] = "auto"
    (out / "config.json").write_text(json.dumps(config))
    for typed in ("auto", "fp32"):
        again = given(root, out, resume=True, run={"precision": typed})
        assert make_plan("distill", again, pytest.fail).settings.run.precision == "fp32"


def test_large_images_are_tried_smaller_where_the_networks_work_so(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def told(part: forecast.Part, *_: Any, **__: Any) -> float:
        sizes.append(part.plan.settings.data.size)
        return 1.0

    monkeypatch.setattr(precision, "seconds_of", told)
    monkeypatch.setattr(precision, "SIDE", 24)
    for side, tried_at in ((32, 24), (24, 24)):
        plan = make_plan("distill", given(root, None, data={"size": side}), pytest.fail)
        settle_precision(plan, build(plan, Told(), CPU).method, CPU, say=lambda _: None)
        assert sizes[-2:] == [tried_at, tried_at]


@pytest.mark.parametrize(
    ("device", "why"), [("cuda", "for one process on a CPU, this is cuda"), ("cpu", "too short")]
)
def test_without_a_trial_it_is_fp32_and_says_why(device: str, why: str, root: Path) -> None:
    said: list[str] = []
    plan = make_plan("distill", given(root, None), pytest.fail)
    method = build(plan, Told(), CPU).method
    plan, found = settle_precision(plan, method, torch.device(device), say=said.append)
    assert plan.settings.run.precision == found["precision"]["took"] == "fp32"
    assert why in said[0]
    assert settle_precision(plan, method, CPU, say=pytest.fail) == (plan, {})


def test_several_processes_do_not_try(root: Path) -> None:
    said: list[str] = []
    plan = make_plan("distill", given(root, None), said.append)
    several = ranks.Ranks()
    several.size = 2
    with ranks.working_with(several):
        settled, found = settle_precision(plan, None, CPU, say=said.append)  # type: ignore[arg-type]  # not looked at
    assert settled.settings.run.precision == found["precision"]["took"] == "fp32"
    assert "several processes" in said[-1]
