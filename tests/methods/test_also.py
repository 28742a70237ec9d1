from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from builders import (
    random_batch,
    random_features,
    random_step,
    small_generator,
    small_task,
    snapshot,
)
from loops import loop_of

from gancomp.config import read
from gancomp.declare import weights
from gancomp.engine.fit import load_networks, load_optimizer, run_step
from gancomp.engine.phases import optimizers
from gancomp.errors import ConfigError
from gancomp.methods.also import guests_of, join, joined_fields, own_options
from gancomp.methods.base import Components, Method
from gancomp.registry import METHODS, resolve
from gancomp.settings import MethodSettings, OptimizerSettings


def settings_for(name: str, also: dict[str, Any], task: str = "unpaired", **options: Any) -> Any:
    """As much of a run's settings as guests look at."""
    if "crd" in (name, *also):
        options = {"patch_size": 16, **options}
    method = MethodSettings(name, name, options, also)
    return SimpleNamespace(method=method, data=SimpleNamespace(task=task))


def joined(name: str, also: dict[str, Any], task: str = "unpaired", **options: Any) -> Method:
    settings = settings_for(name, also, task, **options)
    kind = resolve(METHODS, "method", name)
    chosen = read(kind.Options, own_options(name, settings))
    components = Components(
        small_task(task),
        small_generator(2, "student"),
        random_features(kind.perceptual_taps(chosen)),
        OptimizerSettings(),
        seed=0,
    )
    method: Method = kind(components, chosen)
    join(method, components, settings)
    return method


def test_guests_terms_are_named_after_them_and_weighted() -> None:
    alone = joined("crd", {}).losses("student", random_step())
    half = joined("dcd", {"crd": 0.5, "omgd": 1}).losses("student", random_step())
    dcd = {"gan", "feature", "style", "dcd"}
    crd = {"crd_row", "crd_column", "crd_patch"}
    assert half.keys() == dcd | crd | {"omgd_ssim", "omgd_channel", "omgd_tv"}
    for name in ("row", "column", "patch"):
        assert half[f"crd_{name}"].item() == pytest.approx(0.5 * alone[name].item(), rel=1e-5)
    assert "dcd" in joined("crd", {"dcd": 2}).losses("student", random_step())
    plain = joined("dcd", {}).losses("student", random_step())
    assert {name: half[name].item() for name in dcd} == {
        name: term.item() for name, term in plain.items()
    }


@pytest.mark.parametrize(
    ("name", "also"), [("dcd", {"fitnet": 1, "mgd": 1}), ("omgd", {"dcd": 1, "reviewkd": 1})]
)
def test_what_guests_train_learns_is_saved_and_resumes_to_the_bit(
    name: str, also: dict[str, Any]
) -> None:
    straight, broken, resumed = (joined(name, also) for _ in range(3))
    before = snapshot(straight.networks())
    for method, steps in ((straight, 2), (broken, 1)):
        for index in range(steps):
            run_step(loop_of(method), index, random_batch(seed=index))
    load_networks(resumed.networks(), {k: v.state_dict() for k, v in broken.networks().items()})
    for key, item in optimizers(resumed.phases()).items():
        load_optimizer(item, optimizers(broken.phases())[key].state_dict())
    run_step(loop_of(resumed), 1, random_batch(seed=1))
    after, again = snapshot(straight.networks()), snapshot(resumed.networks())
    assert after.keys() == again.keys()
    assert all(torch.equal(after[key], again[key]) for key in after)
    changed = {key.split(".")[0] for key in after if not torch.equal(before[key], after[key])}
    trained = {"dcd": "dcd_student_connectors"}
    assert {trained.get(guest, f"{guest}_adaptors") for guest in also} <= changed
    assert "dcd_teacher_connectors" not in changed


@pytest.mark.parametrize(
    ("name", "also", "task", "message"),
    [
        ("dcd", {"dcd": 1}, "unpaired", "`also` dcd: is the run's method already"),
        ("dcd", {"crd": 0}, "unpaired", "`also` crd: its weight must be a number above 0"),
        ("dcd", {"dmad": 1}, "unpaired", "`also` dmad: cannot .* wants a finished teacher; these"),
        ("dmad", {"crd": 1}, "unpaired", "`also`: cannot join `method` dmad"),
        ("dcd", {"omgd": 1}, "paired", "`also` omgd: wants a deep teacher"),
        ("dcd", {"crb": 1}, "unpaired", "`also` crb: unknown; did you mean"),
    ],
)
def test_what_cannot_be_joined_is_refused(
    name: str, also: dict[str, Any], task: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        guests_of(settings_for(name, also, task))


def test_only_options_of_the_guests_own_terms_may_be_given() -> None:
    fields = joined_fields(settings_for("dcd", {"crd": 1, "omgd": 1}))
    assert {"lambda_dcd", "lambda_row", "lambda_ssim", "deep_teacher"} <= fields
    assert not {"lambda_gan", "teacher_every"} & fields


def test_weights_are_read_by_name_and_are_1_unless_given() -> None:
    assert weights("--also", "crd:0.5, omgd") == {"crd": 0.5, "omgd": 1.0}
    for text in ("crd:much", ":1", "crd,crd"):
        with pytest.raises(ConfigError, match="also"):
            weights("--also", text)
