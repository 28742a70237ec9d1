"""Writes generators as a web page that runs them: one file, from a disk, without a network."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from gancomp.errors import ConfigError
from gancomp.export.form import Form
from gancomp.export.model import LoadedModel
from gancomp.export.onnx_file import Onnx
from gancomp.export.web_runtime import WebRuntime, find_runtime, packed
from gancomp.files import replacing, reporting_disk_errors
from gancomp.networks.synthesis import SynthesisGenerator
from gancomp.pages import asset, data_block, page

SHOWN_CHANNELS = (1, 3)
ENLARGED_FROM = 128  # pixels: what a picture is first reduced to where it is enlarged then
POLICY = (  # the runtime is WebAssembly, in a worker; both are made of blocks of the page
    "script-src blob: 'wasm-unsafe-eval'",
    "worker-src blob:",
    "media-src blob: mediastream:",
)
SCRIPTS = (
    "slider.js",
    *(f"playground/{name}.js" for name in ("worker", "latents", "pictures", "playground")),
)
STYLES = ("theme.css", "slider.css", "playground/playground.css")
BLOCK = "application/octet-stream"  # base64 of gzip


@dataclass(frozen=True)
class Entry:
    """A generator of a page.

    Attributes:
        name: what the page calls it.
        model: it.
        form: of it, as exported.
        content: as ONNX, bytes in (for pictures) and out.
    """

    name: str
    model: LoadedModel
    form: Form
    content: bytes


@dataclass
class Html:
    """A page: drop a picture or move a slider, see what the generators make of it.

    Attributes:
        beside: further generators of the same kind, shown left of the one that is exported.
        runtime: where ONNX Runtime Web lies; by default it is fetched once.
        checked: what the check of each generator found, and what ran it.
    """

    suffix: ClassVar[str] = ".html"
    beside: tuple[LoadedModel, ...] = ()
    runtime: Path | None = None
    checked: dict[str, Any] | None = field(default=None, init=False)
    largest: float | None = field(default=None, init=False)

    def write(self, model: LoadedModel, out: Path) -> None:
        """Writes the page, whose generators are compared with PyTorch before.

        Raises:
            ConfigError: without the extra `onnx` or the runtime, or for models that no page shows.
            DataError: if the runtime cannot be downloaded.
            ExportError: if a generator cannot be exported, or would not give PyTorch's images.
            RunError: if `out` cannot be written.
        """
        text = self.text([*self.beside, model], f"`out` {out}")
        with reporting_disk_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as aside:
            aside.write_text(text, encoding="utf-8", newline="\n")

    def parity(self, model: LoadedModel, out: Path) -> float | None:
        """The largest difference that `write` found in any of the generators."""
        return self.largest

    def text(self, models: Sequence[LoadedModel], named: str) -> str:
        """The page of these generators.

        Args:
            models: from left to right.
            named: what the user typed, for messages.

        Raises:
            ConfigError: see `write`.
            ExportError: see `write`.
            DataError: see `write`.
        """
        check_shown(models, named)
        runtime = find_runtime(self.runtime)
        entries, found = [], []
        for name, model in zip(names_of(models), models, strict=True):
            exporter = Onnx(pixels=True)
            form, content = exporter.content(model, named)
            entries.append(Entry(name, model, form, content))
            found.append(exporter)
        self.largest = max(item.found.largest for item in found if item.found is not None)
        self.checked = {"models": [item.checked for item in found]}
        return build_page(entries, runtime)


def check_shown(models: Sequence[LoadedModel], named: str) -> None:
    """Refuses models that no page shows, or not in one.

    Raises:
        ConfigError: naming the first of them.
    """
    kinds = [isinstance(model.network, SynthesisGenerator) for model in models]
    if len(set(kinds)) > 1:
        first, other = models[0].path, models[kinds.index(not kinds[0])].path
        raise ConfigError(
            f"{named}: {first} makes images out of {'noise' if kinds[0] else 'images'}, {other} "
            f"out of {'images' if kinds[0] else 'noise'}; a page shows one kind, make two pages"
        )
    for model in models:
        settings = model.network.settings()
        channels = [settings.get(f"{side}_channels", 3) for side in ("in", "out")]
        if not set(channels) <= set(SHOWN_CHANNELS):
            raise ConfigError(
                f"{named}: {model.path} takes {channels[0]} channels and gives {channels[1]}; a "
                "page shows images of 1 or 3, export it as .onnx"
            )


def names_of(models: Sequence[LoadedModel]) -> list[str]:
    """What a page calls its models: their roles where these tell them apart, else their files."""
    for names in (
        [str(model.header.get("role") or "generator") for model in models],
        [model.path.stem for model in models],
        [f"{model.path.parent.name}/{model.path.stem}" for model in models],
    ):
        if len(set(names)) == len(names) and "input" not in names:  # its name for the picture
            return names
    return [f"{model.path.stem} {number}" for number, model in enumerate(models, 1)]


def build_page(entries: Sequence[Entry], runtime: WebRuntime) -> str:
    """One HTML document with the generators and the runtime inside.

    Equal generators and runtimes give equal bytes.
    """
    models = [_facts(entry, number) for number, entry in enumerate(entries)]
    facts = {
        "title": _title(entries),
        "about": "; ".join(item["about"] for item in models),
        "kind": "noise" if isinstance(entries[0].model.network, SynthesisGenerator) else "picture",
        "size": max(_side(entry) for entry in entries),
        "models": models,
        "runtime": {
            "version": runtime.version,
            "license": asset("playground/runtime-license.txt"),
        },
    }
    blocks = [
        data_block("facts", json.dumps(facts, sort_keys=True)),
        _block("runtime-module", runtime.module),
        _block("runtime-wasm", runtime.wasm),
        *(_block(_name(number), packed(entry.content)) for number, entry in enumerate(entries)),
    ]
    return page(
        _title(entries),
        "\n".join([asset("playground/playground.html"), *blocks]),
        styles=[asset(name) for name in STYLES],
        scripts=scripts(),
        more_policy=POLICY,
    )


def scripts() -> list[str]:
    """The scripts of a page, in their order."""
    return [asset(name) for name in SCRIPTS]


def _block(name: str, content: bytes) -> str:
    return data_block(name, base64.b64encode(content).decode(), BLOCK)


def _name(number: int) -> str:
    return f"model-{number}"


def _title(entries: Sequence[Entry]) -> str:
    header = entries[-1].model.header
    about = header.get("dataset") or entries[-1].model.network.arch
    return f"{about}: {' and '.join(entry.name for entry in entries)}"


def _side(entry: Entry) -> int:
    """The longest side that a picture has at first."""
    if entry.form.scale > 1:
        return ENLARGED_FROM
    return int(max(entry.model.header["input"]["size"]))


def _facts(entry: Entry, number: int) -> dict[str, Any]:
    """What the page knows of a generator; see playground.js."""
    network = entry.model.network
    facts: dict[str, Any] = {
        "name": entry.name,
        "block": _name(number),
        "about": _about(entry),
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "bytes": len(entry.content),
        "channels": list(entry.form.channels),
        "scale": entry.form.scale,
    }
    if isinstance(network, SynthesisGenerator):
        styles = "truncation" in entry.form.inputs
        limited = "threshold" if "classes" in entry.form.inputs else None
        facts["latent"] = {
            "size": network.latent_size,
            "drawn": network.latent_size * (2 if styles else 1),  # of two styles, that may be mixed
            "truncation": "psi" if styles else limited,
            "classes": network.num_classes,
        }
    return facts


def _about(entry: Entry) -> str:
    header, network = entry.model.header, entry.model.network
    method = f" by {header['method']}" if header.get("method") else ""
    return f"{entry.name}: {network.arch} of width {network.width}{method}"
