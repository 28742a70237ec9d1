"""On a GPU made up: nothing of the CPU in its work, no wait in a captured step, every way taken."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import batch_for, random_batch, small_method, small_task
from commands import SMALL, run_command, write_model
from fake_cuda import Gpu, HostError, Looked, OnGpu, fake_cuda
from loops import loop_of

from gancomp.data.demo_set import write_demo_set
from gancomp.engine import graphs
from gancomp.engine.fit import run_step
from gancomp.engine.graphs import why_not
from gancomp.losses import image
from gancomp.methods.base import Method
from gancomp.metrics.features import InceptionFeatures, inception_features
from gancomp.registry import METHODS, resolve
from gancomp.training.ways import use_way

CUDA = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def _nothing_made_up_is_kept() -> Iterator[None]:
    yield
    image._window.cache_clear()


def cheapest(name: str) -> Method:
    """The method on data whose step costs little, dcd on unpaired; its networks are its own."""
    kind = resolve(METHODS, "method", name)
    if "paired" in kind.tasks:
        task = small_task("unpaired" if name == "dcd" else "paired", pool_size=2)
        return small_method(name, task, perceptual=False)
    method = small_method(name)
    if getattr(method, "perceptual", None) is not None:
        method.perceptual = copy.deepcopy(method.perceptual)  # the tests' own stays on the CPU
    return method


def batch_of(method: Method, index: int) -> dict[str, torch.Tensor]:
    if method.task.name in ("unpaired", "paired"):
        return random_batch(1, seed=index)
    return batch_for(method.task.name, index)


def steps(method: Method, count: int, *, way: str = "graphs") -> list[str]:
    """Takes steps on the GPU in bf16; returns what is said."""
    batches = [batch_of(method, index) for index in range(count)]
    said: list[str] = []
    loop = loop_of(method.to(CUDA).train(), "cuda", precision="bf16")
    loop.graphs = use_way(method, CUDA, way, precision="bf16", say=said.append)
    for index, batch in enumerate(batches):
        losses = run_step(loop, index, batch)
    loop.watch.settle()
    assert all(isinstance(term, OnGpu) for term in losses.values())
    assert loop.graphs is None or loop.graphs.failed or loop.graphs.num_captured == (count > 1)
    return said


@pytest.fixture
def _looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """What will be captured is looked at the first time, but for what is drawn beforehand."""
    get = graphs._Held.get

    def warm_up(recorder: Any, work: graphs.Work) -> torch.Tensor:
        with torch.cuda.graph(Looked()):
            return work()

    def drawn(held: graphs._Held, *given: Any) -> Any:
        capturing, Gpu.now.capturing = Gpu.now.capturing, None
        try:
            return get(held, *given)
        finally:
            Gpu.now.capturing = capturing

    monkeypatch.setattr(graphs.CudaRecorder, "warm_up", warm_up)
    monkeypatch.setattr(graphs._Held, "get", drawn)


@pytest.mark.usefixtures("_looked_at")
@pytest.mark.parametrize("name", METHODS)
def test_a_step_of_every_method_lies_on_the_gpu_and_may_be_captured_if_it_says_so(
    name: str,
) -> None:
    method = cheapest(name)
    with fake_cuda() as gpu:
        image._window(torch.float32, CUDA)  # kept, as from an earlier step
        gpu.waits.clear()
        assert steps(method, 1, way="off" if why_not(method, CUDA) else "graphs") == []
    # the terms, on their way to be looked at a step later, are all that leaves it
    assert set(gpu.waits) == {"copy_"}


def test_a_window_of_similarity_is_kept_for_captured_steps() -> None:
    with fake_cuda():
        images = torch.rand(2, 3, 16, 16, device="cuda")
        wanted = image.structural_similarity(images, images / 2)
        with torch.cuda.graph(graph := torch.cuda.CUDAGraph()):
            found = image.structural_similarity(images, images / 2)
        found.zero_()
        graph.replay()
        assert found.item() == wanted.item()


WRONG: dict[str, tuple[type[Exception], Callable[[torch.Tensor], Any]]] = {
    "a mask of the CPU": (RuntimeError, lambda x: x * torch.ones(2)),
    "a cat": (RuntimeError, lambda x: torch.cat([x, torch.ones(2)])),
    "into the CPU": (RuntimeError, lambda x: torch.ones(2).add_(x)),
    "a generator": (RuntimeError, lambda x: torch.rand(2, device=x.device, generator=of_cpu())),
    "numpy": (TypeError, lambda x: x.numpy()),
}
WAITS: dict[str, Callable[[torch.Tensor], Any]] = {
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool((x > 0).all()),
    "mask": lambda x: x[x > 0],
    "nonzero": torch.nonzero,
    "cpu": lambda x: x.cpu(),
}
NOT_CAPTURED: dict[str, Callable[[torch.Tensor], Any]] = WAITS | {
    "from the host": lambda x: torch.ones(2).to(x.device),
    "a number": lambda x: torch.tensor(1.0, device=x.device),
    "a source": lambda x: torch.rand(2, device=x.device, generator=torch.Generator(x.device)),
}


def of_cpu() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("name", WRONG)
def test_what_a_gpu_would_refuse_is_refused(name: str) -> None:
    error, work = WRONG[name]
    with fake_cuda(), pytest.raises(error):
        work(torch.ones(2, device="cuda"))


def test_who_waits_for_the_gpu_is_noticed() -> None:
    with fake_cuda() as gpu:
        for number, work in enumerate(WAITS.values(), start=1):
            work(torch.ones(2, device="cuda"))
            assert len(gpu.waits) == number
        torch.ones(2, device="cuda").mul_(2).sum()
        assert len(gpu.waits) == len(WAITS)


@pytest.mark.parametrize("name", NOT_CAPTURED)
def test_what_a_cuda_graph_cannot_have_in_it_is_refused(name: str) -> None:
    with fake_cuda():
        values = torch.ones(2, device="cuda")
        with pytest.raises(HostError), torch.cuda.graph(torch.cuda.CUDAGraph()):
            NOT_CAPTURED[name](values)


def test_a_replay_repeats_the_operations_on_the_same_addresses_and_nothing_of_the_host() -> None:
    with fake_cuda():
        given, sums, graph = torch.ones(2, device="cuda"), torch.zeros(2, device="cuda"), None
        times = 3.0
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            doubled = given * times
            sums += doubled
        assert sums.tolist() == [0, 0]
        times = 100.0
        for value in (1, 2):
            given.fill_(value)
            graph.replay()
        assert doubled.tolist() == [6, 6]
        assert sums.tolist() == [9, 9]


def test_running_statistics_after_replays_are_those_of_plain_steps() -> None:
    """Batch norm's kernels write them without declaring it; a capture must not count as a step."""
    first = cheapest("gan2g")
    found = []
    with fake_cuda():
        for way, method in (("off", copy.deepcopy(first)), ("graphs", first)):
            loop = loop_of(method.to(CUDA).train(), "cuda")
            loop.graphs = use_way(method, CUDA, way, precision="fp32", say=lambda _: None)
            for index in range(5):
                run_step(loop, index, batch_of(method, index))
            statistics = dict(method.named_buffers())
            found.append({k: v.tolist() for k, v in statistics.items() if "running_var" in k})
        assert loop.graphs is not None
        assert loop.graphs.num_captured == 1
    plain, replayed = found
    assert len(plain) > 2
    for name, values in plain.items():
        assert replayed[name] == pytest.approx(values, rel=1e-4, abs=1e-5)


def test_weights_that_a_replay_wrote_count_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of them, such as StyleGAN2's mean style, goes by that."""
    monkeypatch.setattr(graphs, "WARM_UP", 1)
    method = small_method("gan", path_every=9, r1_every=9, ema_start=0)
    average = next(method.generators()["teacher"].parameters())
    with fake_cuda():
        said: list[str] = []
        loop = loop_of(method.to(CUDA).train(), "cuda")
        loop.graphs = use_way(method, CUDA, "graphs", precision="fp32", say=said.append)
        for index in range(1, 3):
            before = average._version
            run_step(loop, index, batch_for("synthesis", index))
            assert average._version > before
    assert loop.graphs is not None
    assert loop.graphs.num_captured == 1


def test_after_a_capture_that_cuda_broke_off_training_goes_on_without_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graphs, "WARM_UP", 1)
    method = cheapest("gan2g")
    losses = method.losses

    def waiting(phase: str, step: Any) -> dict[str, torch.Tensor]:
        return {name: term * term.item() for name, term in losses(phase, step).items()}

    monkeypatch.setattr(method, "losses", waiting)
    with fake_cuda() as gpu:
        (said,) = steps(method, 2)
    assert said.startswith("a step could not be captured as a CUDA graph (HostError: ")
    assert gpu.ended == 1  # torch's allocator no longer takes anything for captured
    assert gpu.drawn_anew == 1


def test_a_run_is_trained_on_the_gpu_goes_on_there_and_its_student_translates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_demo_set(tmp_path / "set", size=32, train=2, test=1)
    small = SMALL.replace("--device cpu", "--device cuda")
    more = "--student-width 2 --perceptual none --pool-size 2 --dropout 0.3 --precision bf16"
    with fake_cuda():
        lines = [
            f"distill {small} {more} --dataset set --out run",
            "distill --resume --max-steps 2 --out run --device cuda",
            "translate run/student.safetensors set/testA -o made --device cuda",
        ]
        for line in lines:
            ended = run_command(capsys, *line.split())
            assert ended.status == 0, ended.err
    assert len(list((tmp_path / "made").iterdir())) == 1


@pytest.mark.parametrize("arch", ["srresnet", "unet128", "inception-resnet9"])
def test_images_of_any_generator_are_made_on_the_gpu(
    arch: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_demo_set(tmp_path / "set", size=128 if arch == "unet128" else 32, train=1, test=1)
    write_model(tmp_path / "model.safetensors", arch, 2)
    typed = ["translate", tmp_path / "model.safetensors", tmp_path / "set" / "testA"]
    with fake_cuda() as gpu:
        ended = run_command(capsys, *typed, "-o", tmp_path / "made", "--device", "cuda")
    assert ended.status == 0, ended.err
    assert gpu.waits == ["_to_copy"]


class Probe(torch.nn.Module):
    """Stands for Inception: the mean colors."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3))


def test_features_are_computed_on_the_gpu() -> None:
    images = [torch.full((8, 8, 3), level, dtype=torch.uint8).numpy() for level in (0, 200)]
    wanted = inception_features(images, InceptionFeatures(Probe(), "probe"))
    with fake_cuda() as gpu:
        found = inception_features(images, InceptionFeatures(Probe(), "probe"), device=CUDA)
    assert found == pytest.approx(wanted)
    assert "_to_copy" in gpu.waits
