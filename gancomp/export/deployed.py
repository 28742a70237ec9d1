"""Exported files as generators, so that whatever runs a network runs what is deployed."""

from __future__ import annotations

import copy
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gancomp.data.transforms import to_nearest_uint8
from gancomp.errors import CheckpointError, GancompError
from gancomp.export.executorch_model import ExecuTorchSession
from gancomp.export.executorch_model import without_header as without_pte_header
from gancomp.export.form import exported_form
from gancomp.export.model import LoadedModel
from gancomp.export.native import HEADER_KEY, network_without_weights, parse_header
from gancomp.export.openvino_file import PRECISIONS, weights_beside, without_header
from gancomp.export.parity import small_side
from gancomp.export.program import ProgramSession, content_of, header_in, large_weights
from gancomp.export.runtimes import (
    OnnxSession,
    Open,
    OpenVinoSession,
    Session,
    damaged,
    is_large,
)
from gancomp.networks.base import TappedNetwork
from gancomp.networks.stylegan2 import StyleGAN2
from gancomp.networks.synthesis import Latents, SynthesisGenerator

FILTER = 16  # numbers of StyleGAN2's fixed filter


class DeployedGenerator(TappedNetwork):
    """A generator that an exported file's runtime computes, on the CPU.

    Args:
        described: the network that the file's header describes, on the meta device.
        open_session: opens the file on a number of threads.
        pixels: whether the file takes and gives bytes.
    """

    def __init__(
        self, described: TappedNetwork, open_session: Open, *, pixels: bool = False
    ) -> None:
        super().__init__(described.arch, described.settings())
        self._described = (described,)  # in a tuple, so that it is no part of this module
        self.width, self.pixels = described.width, pixels
        self.size_multiple = 1 if pixels else described.size_multiple
        self.scale = described.scale
        self.default_taps, self.tap_channels = (), {}
        self._open = open_session
        self._sessions: dict[int, Session] = {}

    @property
    def described(self) -> TappedNetwork:
        """The network that the file's header describes, without weights: to count its costs."""
        return self._described[0]

    @property
    def how(self) -> str:
        """What computes it, in words."""
        return self.session().how

    def session(self) -> Session:
        """The file in its runtime, on as many threads as torch computes with now."""
        threads = torch.get_num_threads()
        if threads not in self._sessions:
            self._sessions[threads] = self._open(threads)
        return self._sessions[threads]

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """Height and width of the images that the file takes, where it is for one size alone."""
        height, width = (*self.session().inputs[0].shape, None, None)[2:4]
        return None if self.pixels or height is None or width is None else (height, width)

    def walk(self, images: Any) -> Iterator[tuple[str, Tensor]]:
        """Yields `output`."""
        session = self.session()
        given = [values.detach().cpu().numpy() for values in self.tensors(images)]
        output = torch.from_numpy(np.array(session.run(given)))
        yield "output", self._from_pixels(output) if self.pixels else output

    def tensors(self, images: Any) -> list[Tensor]:
        """The file's inputs for images `(N, C, H, W)` in [-1, 1]."""
        if self.pixels:
            return [torch.from_numpy(to_nearest_uint8(images))]
        return [images.float()]

    def _from_pixels(self, pixels: Tensor) -> Tensor:
        """Images whose levels are found again, by truncation or, if enlarged, by rounding."""
        middle = 0.5 if self.scale == 1 and not isinstance(self, SynthesisGenerator) else 0.0
        return (pixels.movedim(-1, 1).float() + middle) / 127.5 - 1

    def tap_names(self) -> tuple[str, ...]:
        """`output` alone: what is in between, only the runtime knows."""
        return ("output",)


class DeployedSynthesis(DeployedGenerator, SynthesisGenerator):
    """A generator of images out of noise; StyleGAN2's added noise is a constant of the file."""

    def __init__(
        self, described: SynthesisGenerator, open_session: Open, *, pixels: bool = False
    ) -> None:
        super().__init__(described, open_session, pixels=pixels)
        self.resolution, self.latent_size = described.resolution, described.latent_size
        self.num_classes = described.num_classes
        self._source = (described,)

    def tensors(self, images: Latents) -> list[Tensor]:
        """The file's inputs for latents."""
        given = {"z": images.z.float(), "truncation": torch.tensor(images.truncation or 1.0)}
        if images.classes is not None:
            given["classes"] = images.classes
        return [given[port.name] for port in self.session().inputs]

    def draw_latents(
        self,
        count: int,
        generator: torch.Generator,
        *,
        classes: Tensor | None = None,
        truncation: float | None = None,
        mixing: float = 0.0,
    ) -> Latents:
        """As the network itself draws them, less the noise and the second style."""
        latents = self._source[0].draw_latents(
            count, generator, classes=classes, truncation=truncation, mixing=mixing
        )
        return replace(latents, noise=(), mixed=None, crossover=None)


@dataclass(frozen=True)
class _Content:
    """A file without its header, and how to open it on a number of threads."""

    header: str | None
    content: bytes
    open: Callable[[int, str], Session]


def open_deployed(path: Path) -> LoadedModel:
    """The generator in an exported file, to be run by its runtime.

    Raises:
        CheckpointError: if the file is missing, damaged, not ours, or not what its header says.
        ConfigError: without the extra that its runtime comes with.
    """
    try:
        found = SUFFIXES[path.suffix.lower()](path)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror}); check the path"
        ) from error
    if found.header is None:
        raise CheckpointError(
            f"{path}: has no gancomp header: damaged, or not written by gancomp export; export it "
            "again"
        )
    header = parse_header(path, found.header)
    entry = header.get("export")
    if not isinstance(entry, dict) or entry.get("precision") not in PRECISIONS:
        raise damaged(path, "its header has no valid 'export' entry")
    content = found.content[: entry.get("bytes")]
    if hashlib.sha256(content).hexdigest() != entry.get("sha256"):
        raise damaged(path, "it was changed, or its header is another file's")
    described = network_without_weights(path, header)
    kind = DeployedSynthesis if isinstance(described, SynthesisGenerator) else DeployedGenerator

    def open_session(threads: int) -> Session:
        return found.open(threads, entry["precision"])

    pixels = entry.get("pixels") is True
    network = kind(described, open_session, pixels=pixels)  # type: ignore[arg-type]  # its own kind
    _check(path, network)
    return LoadedModel(network.eval(), header, path, path.suffix[1:].lower())


def runtime_of(network: TappedNetwork) -> dict[str, str]:
    """For the protocol of a score: what ran an exported file; nothing where PyTorch did."""
    return {"runtime": network.how} if isinstance(network, DeployedGenerator) else {}


def _read_onnx(path: Path) -> _Content:
    content = path.read_bytes()

    def opened(threads: int, precision: str) -> Session:
        return OnnxSession(content, path, threads=threads, precision=precision)

    header = OnnxSession(content, path, threads=1, precision="fp32").notes.get(HEADER_KEY)
    return _Content(header, content, opened)


def _read_openvino(path: Path) -> _Content:
    xml, header = without_header(path.read_bytes())
    weights = weights_beside(path)

    def opened(threads: int, precision: str) -> Session:
        return OpenVinoSession(xml, weights, path, threads=threads, precision=precision)

    return _Content(header, xml + weights, opened)


def _read_program(path: Path) -> _Content:
    content = path.read_bytes()

    def opened(threads: int, precision: str) -> Session:
        return ProgramSession(content, path, threads=threads)

    return _Content(header_in(content, path), content_of(content, path), opened)


def _read_executorch(path: Path) -> _Content:
    program, header = without_pte_header(path.read_bytes())

    def opened(threads: int, precision: str) -> Session:
        names = json.loads(header or "{}")["export"].get("inputs", ())
        return ExecuTorchSession(program, path, threads=threads, names=names)

    return _Content(header, program, opened)


def _refuse_coreml(path: Path) -> _Content:
    raise CheckpointError(
        f"{path}: is for Core ML, which Apple's systems alone run; give the .safetensors that it "
        "was made from"
    )


SUFFIXES: dict[str, Callable[[Path], _Content]] = {
    ".onnx": _read_onnx,
    ".xml": _read_openvino,
    ".pt2": _read_program,
    ".pte": _read_executorch,
    ".mlpackage": _refuse_coreml,
}


def is_deployed(path: Path) -> bool:
    """Whether a file is one that another runtime runs, by its suffix."""
    return path.suffix.lower() in SUFFIXES


def size_on_disk(path: Path) -> int:
    """Bytes of a model's file, with those of the weights that belong beside it."""
    weights = path.with_suffix(".bin")
    beside = weights.stat().st_size if path.suffix.lower() == ".xml" and weights.exists() else 0
    return path.stat().st_size + beside


def _check(path: Path, network: DeployedGenerator) -> None:
    """Refuses a file that does not take and give what its header says."""
    described, settings = network.described, network.settings()
    if isinstance(network, DeployedSynthesis):
        wanted = (1, 3, network.resolution, network.resolution)
        given: Any = network.example_input((1, network.latent_size))
    else:
        size = network.fixed_size or [small_side(network.size_multiple, network.scale)] * 2
        wanted = (1, settings.get("out_channels", 3), *(side * network.scale for side in size))
        given = torch.zeros(1, settings.get("in_channels", 3), *size)
    try:
        made = tuple(network(given).shape)
    except GancompError:
        raise
    except Exception as error:  # each runtime raises types of its own
        raise damaged(path, f"it does not run as the {described.arch} it claims to be") from error
    if made != wanted:
        raise damaged(
            path, f"a {described.arch} as it claims to be gives {wanted}, it gives {made}"
        )
    _check_weights(path, network)


def _check_weights(path: Path, network: DeployedGenerator) -> None:
    """Refuses a file whose weights are not those of the network that its header describes.

    Costs are counted by the header: a lie there would make a network look cheaper than it is.
    """
    described = copy.deepcopy(network.described)
    found = Counter(network.session().weights)
    if isinstance(described, StyleGAN2):  # runtimes add constants, and merge its equal filters
        wanted = Counter(large_weights(described.state_dict().values()))
        wrong = [number for number in wanted - found if number > FILTER]
    else:
        module = exported_form(described.to_empty(device="cpu")).module
        weights = [*module.parameters(), *module.buffers()]
        wanted = Counter(large_weights(weights))
        if network.session().has_vectors:  # theirs may be others, as norms are folded
            small = (item.numel() for item in weights if not is_large(item.shape))
            vectors = max(small, default=0)
            found = Counter({number: found[number] for number in found if number > vectors})
            wanted = Counter({number: wanted[number] for number in wanted if number > vectors})
        wrong = list(found - wanted)
        if not described.is_own:  # whose images may not need all of them
            wrong += list(wanted - found)
    if wrong:
        raise damaged(
            path,
            f"a {described.arch} as it claims to be has {wanted.total()} weights of "
            f"{sum(wanted.elements())} numbers, it has {found.total()} of "
            f"{sum(found.elements())}",
        )
