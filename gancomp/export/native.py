"""Our own model files: `.safetensors` whose header says everything needed to open them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from gancomp.errors import CheckpointError, ConfigError
from gancomp.export.containers import fill, read_safetensors, shortened, sniff
from gancomp.files import replacing, reporting_disk_errors
from gancomp.networks.base import TappedNetwork
from gancomp.networks.own import refuse_unfit
from gancomp.own_code import answer_for
from gancomp.registry import NETWORKS, ORIGINS, build_network, is_code

FORMAT_VERSION = 1
HEADER_KEY = "gancomp"
OTHER_CODE = "the file is damaged, or its code was another one or has changed since"
MAX_LENGTH = 1 << 16  # of an image's side, in pixels
REQUIRED = {"arch": str, "settings": dict, "input": dict}
OPTIONAL = {
    "role": str,
    "task": str,
    "step": int,
    "method": str,
    "dataset": str,
    "direction": str,
}


def save_model(
    path: Path,
    network: TappedNetwork,
    *,
    role: str,
    task: str | None,
    step: int | None,
    method: str | None,
    dataset: str | None,
    input_size: int | tuple[int, int],
    direction: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Writes `network` with its description to `path`, whole or not at all.

    Equal weights and descriptions give equal bytes.

    Args:
        path: the `.safetensors` file; its folder is made if need be.
        network: any registered network, on any device.
        role: `"teacher"`, `"student"`, `"discriminator"`.
        task: what it was trained for: `"unpaired"`, `"paired"`.
        step: training steps behind it.
        method: how it was distilled, None for a teacher trained alone.
        dataset: name of the dataset.
        input_size: height and width it is meant for, one number for both.
        direction: `"AtoB"` or `"BtoA"`.
        extra: further JSON-able header entries.

    Raises:
        RunError: if the folder cannot be written or the disk is full.
        ValueError: if `extra` would replace an entry of ours.
    """
    size = [input_size, input_size] if isinstance(input_size, int) else list(input_size)
    header = describe(network, size) | {
        "task": task,
        "role": role,
        "step": step,
        "method": method,
        "dataset": dataset,
        "direction": direction,
    }
    clash = sorted(set(extra or {}) & set(header))
    if clash:
        raise ValueError(f"extra header entries {clash} would replace those of the format")
    text = json.dumps(header | dict(extra or {}), sort_keys=True, allow_nan=False)
    # copies: of people's own modules several names may share one memory
    tensors = {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in network.state_dict().items()
    }
    content = save(tensors, metadata={HEADER_KEY: text})
    with reporting_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as aside:
        aside.write_bytes(content)


def describe(network: TappedNetwork, size: list[int]) -> dict[str, Any]:
    """The header of a model of which only the network is known; the other entries are None."""
    settings = network.settings()
    return {
        "format_version": FORMAT_VERSION,
        "task": None,
        "arch": network.arch,
        "settings": settings,
        "role": None,
        "step": None,
        "method": None,
        "dataset": None,
        "direction": None,
        **({"plugin": origin} if (origin := ORIGINS.get(("networks", network.arch))) else {}),
        "input": {"size": size, "channels": settings.get("in_channels", 3), "range": [-1, 1]},
    }


def header_of(network: TappedNetwork, header: Mapping[str, Any]) -> dict[str, Any]:
    """The header of an export: that of the file it is made from, which may be of others."""
    kept = ("task", "step", "method", "dataset", "direction")
    known = {name: header.get(name) for name in kept} | {"role": header["role"] or "generator"}
    pixels = {"pixels": header["pixels"]} if header.get("pixels") else {}
    return describe(network, list(header["input"]["size"])) | known | pixels


def open_native(path: Path) -> tuple[TappedNetwork, dict[str, Any]]:
    """The network in `path`, in eval mode on the CPU, and the header it was saved with.

    Raises:
        CheckpointError: if the file is missing, damaged, not ours or of a newer format.
    """
    metadata, tensors = read_safetensors(path) if sniff(path) == "safetensors" else ({}, {})
    if HEADER_KEY not in metadata:
        raise CheckpointError(f"{path}: was not written by gancomp; its header is missing")
    header = parse_header(path, metadata[HEADER_KEY])
    network = network_without_weights(path, header)
    if is_code(header["arch"]):
        _fill_own(network, tensors, path)
    else:
        fill(network, tensors, path)
    return network, header


def network_without_weights(path: Path, header: Mapping[str, Any]) -> TappedNetwork:
    """The network that the header of `path` describes, on the meta device; own code's with some.

    Raises:
        CheckpointError: if it cannot be built, or its code was not named.
    """
    if is_code(header["arch"]):
        return _build_own(path, header)
    if header["arch"] not in NETWORKS and isinstance(plugin := header.get("plugin"), str):
        raise CheckpointError(
            f"{path}: its network {shortened(header['arch'])} comes from a plug-in, "
            f"{shortened(plugin)}; install it, or name its file with `plugin`"
        )
    try:
        with torch.device("meta"):
            network = build_network(header["arch"], **header["settings"])
    except (ConfigError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: its header asks for a network that cannot be built "
            f"({shortened(str(error))}); export the model again, or update gancomp if a newer one "
            "wrote it"
        ) from error
    return network


def parse_header(path: Path, text: str) -> dict[str, Any]:
    """The header of a model file out of its text.

    Raises:
        CheckpointError: if it is damaged, lacks an entry or is of a newer format.
    """
    damaged = f"{path}: its gancomp header cannot be read; export the model again"
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(damaged) from error
    if not isinstance(header, dict) or not isinstance(header.get("format_version"), int):
        raise CheckpointError(damaged)
    if header["format_version"] > FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format version {header['format_version']}, this gancomp reads up to "
            f"{FORMAT_VERSION}; update gancomp"
        )
    for entry, kind in REQUIRED.items():
        if not isinstance(header.get(entry), kind):
            raise CheckpointError(f"{damaged} (no valid {entry!r} entry)")
    for entry, optional in OPTIONAL.items():
        if not isinstance(header.setdefault(entry, None), optional | None):
            raise CheckpointError(f"{damaged} (no valid {entry!r} entry)")
    size = header["input"].get("size")
    if not (isinstance(size, list) and len(size) == 2 and all(map(_is_length, size))):
        raise CheckpointError(f"{damaged} (no valid 'input' size)")
    return header


def _is_length(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_LENGTH


def _build_own(path: Path, header: Mapping[str, Any]) -> TappedNetwork:
    """The network of a file whose header records code, without the file's weights.

    Raises:
        CheckpointError: if no code was named for it, or it makes another network.
    """
    arch = answer_for(shortened(header["arch"]), path)
    try:
        return build_network(arch, **header["settings"])
    except TypeError as error:  # settings of another kind than ours
        raise CheckpointError(f"{path}: its header is damaged ({shortened(str(error))})") from error
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _fill_own(network: TappedNetwork, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Makes `tensors` the weights of the network that `_build_own` gave; eval mode.

    Raises:
        CheckpointError: if they are another module's, or it makes no images in [-1, 1].
    """
    fill(network, tensors, path, otherwise=OTHER_CODE)
    refuse_unfit(network, path)
