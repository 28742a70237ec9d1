"""The same steps on a CUDA device; skipped where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import batch_for, random_batch, random_features, small_method, small_task
from loops import loop_of

from gancomp.data.demo_set import write_demo_set
from gancomp.engine.fit import load_networks, run_step
from gancomp.engine.trials import FAILED, Limit
from gancomp.methods.base import Method
from gancomp.networks.fused import in_turn, norm_and_more
from gancomp.planning.plan import make_plan
from gancomp.settings import Overrides
from gancomp.training.steps import make_reader
from gancomp.training.ways import Silent, fastest, trial_of, use_way

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(autouse=True, scope="module")
def _others_keep_their_features_on_the_cpu() -> Iterator[None]:
    yield
    random_features.cache_clear()  # methods take them along to the GPU


def first_losses(
    device: str, task: str, precision: str = "fp32", steps: int = 1
) -> dict[str, float]:
    method = small_method("dcd", small_task(task)).to(device)
    loop = loop_of(method, device, precision=precision)
    for index in range(steps):
        losses = run_step(loop, index, random_batch(seed=index))
    return {name: term.item() for name, term in losses.items()}


@pytest.mark.parametrize("task", ["unpaired", "paired"])
def test_the_first_step_has_the_same_losses_as_on_the_cpu(task: str) -> None:
    # convolutions may use TF32 (10 bits of mantissa), hence three digits
    assert first_losses("cuda", task) == pytest.approx(
        first_losses("cpu", task), rel=5e-3, abs=5e-3
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_twenty_steps_stay_finite(precision: str) -> None:
    losses = first_losses("cuda", "unpaired", precision, steps=20)
    assert all(torch.isfinite(torch.tensor(value)) for value in losses.values())


def test_a_run_resumed_on_the_gpu_shows_its_pooled_images_there() -> None:
    method = small_method("dcd", small_task("unpaired", pool_size=2)).to("cuda")
    for index in range(4):
        run_step(loop_of(method, "cuda"), index, random_batch(seed=index))
    states = {name: network.state_dict() for name, network in method.networks().items()}
    fresh = small_method("dcd", small_task("unpaired", pool_size=2)).to("cuda")
    load_networks(fresh.networks(), move_to_cpu(states))
    for index in range(4, 8):
        run_step(loop_of(fresh, "cuda"), index, random_batch(seed=index))


def move_to_cpu(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: move_to_cpu(value) for key, value in state.items()}
    return state.cpu()


REPLAYED: dict[str, Callable[[], Method]] = {
    "dcd unpaired": lambda: small_method("dcd", small_task("unpaired", pool_size=3)),
    "dcd paired": lambda: small_method("dcd", small_task("paired", pool_size=3)),
    "dcd blocks": lambda: small_method("dcd", teacher_block_epochs=1, student_block_epochs=1),
    "dgl": lambda: small_method("dgl", path_every=1, r1_every=2),
    "srgan": lambda: small_method("srgan", small_task("super-resolution"), objective="gan"),
}
STEPS = 9


def losses_of(
    method: Method, steps: range = range(STEPS), *, way: str = "off", precision: str = "fp32"
) -> list[dict[str, float]]:
    """Of each step, whose rates fall; ways that do not work fail the test."""
    device = torch.device("cuda")
    loop = loop_of(method.to(device).train(), "cuda", precision=precision, epochs=1, decay_epochs=6)
    loop.steps_per_epoch = 2
    loop.graphs = use_way(method, device, way, precision=precision, say=pytest.fail)
    found = []
    for index in steps:
        losses = run_step(loop, index, batch_for(method.task.name, index))
        found.append({name: term.item() for name, term in losses.items()})
    if loop.graphs is not None:
        assert loop.graphs.num_captured >= 1
    return found


@pytest.fixture
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that differ by rounding alone, which TF32 would make large."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)


@pytest.mark.usefixtures("_exact")
@pytest.mark.parametrize(
    ("name", "way"), [*((name, "graphs") for name in REPLAYED), ("dcd unpaired", "fused+graphs")]
)
def test_steps_are_the_plain_ones_in_every_way(name: str, way: str) -> None:
    wanted, found = losses_of(REPLAYED[name]()), losses_of(REPLAYED[name](), way=way)
    for one, other in zip(found, wanted, strict=True):
        # Adam moves a weight by as much for a gradient of rounding errors as for any other
        assert one == pytest.approx(other, rel=2e-2, abs=2e-2)


@pytest.mark.usefixtures("_exact")
def test_a_replayed_run_goes_on_from_a_plain_state_and_back() -> None:
    wanted = losses_of(REPLAYED["dcd paired"]())
    method = REPLAYED["dcd paired"]()
    losses_of(method, range(5), way="graphs")
    group = method.phases()[0].optimizer.param_groups[0]
    assert isinstance(group["lr"], float)
    assert not group["capturable"]
    states = {name: move_to_cpu(item.state_dict()) for name, item in method.networks().items()}
    fresh = REPLAYED["dcd paired"]().to("cuda")
    load_networks(fresh.networks(), states)
    for one, other in zip(fresh.phases(), method.phases(), strict=True):
        one.optimizer.load_state_dict(other.optimizer.state_dict())
    found = losses_of(fresh, range(5, STEPS), way="off")
    assert found[-1] == pytest.approx(wanted[-1], rel=2e-2, abs=2e-2)


def test_a_smaller_batch_and_bf16_are_no_hindrance_to_replays() -> None:
    method, device = REPLAYED["dcd unpaired"]().to("cuda").train(), torch.device("cuda")
    loop = loop_of(method, "cuda", precision="bf16")
    loop.graphs = use_way(method, device, "fused+graphs", precision="bf16", say=pytest.fail)
    for index in range(8):
        batch = random_batch(1 if index == 6 else 2, seed=index)
        losses = run_step(loop, index, batch)
    loop.watch.settle()
    assert loop.graphs is not None
    assert loop.graphs.num_captured == 1
    assert all(term.isfinite() for term in losses.values())


@pytest.mark.parametrize(
    ("shape", "slope", "padding", "dtype"),
    [
        ((2, 5, 7, 9), 0.0, 1, torch.float32),
        ((1, 256, 64, 64), 0.0, 1, torch.bfloat16),
        ((2, 64, 130, 131), 0.2, 0, torch.float32),
        ((1, 66, 5, 13), None, 3, torch.float32),
    ],
)
def test_the_fused_norm_is_the_layers_in_turn(
    shape: tuple[int, ...], slope: float | None, padding: int, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    values = (torch.randn(shape, generator=generator) * 2 + 5).to("cuda", dtype)
    features = values.contiguous(memory_format=torch.channels_last).requires_grad_()
    found = norm_and_more(features, slope=slope, padding=padding)
    wanted = in_turn(features.float(), 1e-5, slope, padding)
    tolerance = 1e-5 if dtype == torch.float32 else 2**-7
    torch.testing.assert_close(found.float(), wanted, rtol=tolerance, atol=tolerance)
    weights = torch.randn(found.shape, generator=generator).to(found)
    gradients = [
        torch.autograd.grad(output, features, weights.to(output.dtype))[0].float()
        for output in (found, wanted)
    ]
    tolerance = 1e-4 if dtype == torch.float32 else 2**-6
    torch.testing.assert_close(*gradients, rtol=tolerance, atol=tolerance)


def test_auto_tries_the_ways_on_this_gpu(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_demo_set(root, size=32, train=3, test=2)
    values = {
        "data": {"dataset": str(root), "size": 32, "load_size": 32},
        "teacher": {"network": {"arch": "mobile-resnet6", "width": 4}},
        "student": {"width": 2},
        "discriminator": {"width": 4, "layers": 1},
        "perceptual": {"source": "none"},
        "run": {"workers": 0, "device": "cuda"},
    }
    plan = make_plan("distill", Overrides(settings=values, out=tmp_path / "run"), print)
    prepare = trial_of(plan, make_reader(plan, Silent()), torch.device("cuda"))
    chosen = fastest(prepare, ("off", "graphs", "fused+graphs"), Limit(seconds=90))
    assert not [found for found in chosen.trials.values() if FAILED in found], chosen.sentence()
    assert chosen.way.endswith("graphs"), chosen.sentence()
