"""What a model costs, how good it is, and the file that is handed out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from gancomp import console
from gancomp.api.arguments import Code, as_pixels, request, spec_of
from gancomp.api.boundary import called, log, own_threads
from gancomp.own_code import naming
from gancomp.paths import expanded
from gancomp.recipes.eval_fid import eval_fid
from gancomp.recipes.evaluate import default_metrics, names_of
from gancomp.recipes.evaluate import evaluate as evaluate_recipe
from gancomp.recipes.export import export as export_recipe
from gancomp.recipes.profile import latency_asked_for, network_asked_for, profile_document
from gancomp.scoring.request import FidRequest
from gancomp.sizes import Size

Place = str | os.PathLike[str]


def evaluate(
    model: Place | None = None,
    *,
    metrics: Sequence[str] | None = None,
    metric_options: Mapping[str, Mapping[str, Any]] | None = None,
    bootstrap: int = 0,
    pairs: Place | None = None,
    arch: Code | None = None,
    progress: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """The FID of a model, or of a folder of images, as `gancomp eval-fid` computes it.

    Args:
        model: a model file or a run; by default the latest run, unless `fake` is given.
        metrics: names of scores to compute instead, from one pass, as `gancomp eval` does.
        metric_options: their own options, by metric and name.
        bootstrap: with `metrics`, resamples for `low` and `high`, the ends of 95 % intervals.
        pairs: "targets", "teacher", a model, or "files": what PSNR, SSIM and LPIPS compare with.
        arch: of a model of your own generator: its code, "FILE.py:FACTORY", or the function itself.
        progress: say on stderr how far it is.
        options: named as the command's: `dataset`, `direction`, `real` (a folder, several, or
            STATS.npz), `fake`, `real_split`, `fake_split`, `size`, `batch_size`, `save_stats`,
            `num`, `seed`, `truncation`, `mirror`, `in_range`, `out_range`, `recursive`, `strict`,
            `device`, `part`.

    Returns: `fid`, or with `metrics` a table of that name with `value`, `low` and `high` of each;
        `n_real`, `n_fake`, `real`, `fake`, `weights`, `protocol`. Kept in the run's `eval.json`, if
        the model lies in one.

    Raises:
        GancompError: for whatever the caller can fix, `field` naming the argument.
    """
    with called():
        given = request("evaluate", FidRequest, {"model": model, **options})
        say = console.say if progress else log
        own = {name: dict(values) for name, values in (metric_options or {}).items()}
        with naming(spec_of(arch), to_open=True):
            asked = FidRequest(**given)
            if metrics is None and not bootstrap and pairs is None:
                return eval_fid(asked, say)
            beside = None if pairs is None else os.fspath(pairs)
            names = list(metrics) if metrics is not None else names_of(default_metrics(beside))
            return evaluate_recipe(asked, names, own, say, bootstrap=bootstrap, pairs=beside)


def profile(
    *models: Place,
    arch: Code | None = None,
    width: int | None = None,
    width_argument: str | None = None,
    norm: str | None = None,
    in_channels: int | None = None,
    blocks: int | None = None,
    scale: int | None = None,
    size: Size | None = None,
    batch_size: int = 1,
    latency: bool = False,
    device: str | None = None,
    threads: int | None = None,
    part: str | None = None,
    **own: Any,
) -> dict[str, Any]:
    """What models cost: MACs by both rules, parameters, bytes, and with `latency` their speed here.

    Args:
        models: model files or runs; by default the latest run's teacher and student, else the
            default preset's pair.
        arch: a network by name instead of a file; or your own code, with a file or without.
        width: its width (ngf or ndf).
        width_argument: the parameter of your own factory that is its width.
        norm: instance or batch; by default the network's own.
        in_channels: its input channels.
        blocks: its residual blocks.
        scale: enlarges so often.
        size: side, or height and width, in pixels; by default the model's own.
        batch_size: images per pass.
        latency: time forward passes on this machine, too.
        device: for `latency`; by default auto.
        threads: CPU threads for `latency`; by default torch's choice.
        part: network of a file that holds several.
        own: other options of the network `arch`, by name.

    Returns: `models`, one row each, and `ratio`, the first over the last, where there are two.

    Raises:
        GancompError: for whatever the caller can fix, `field` naming the argument.
    """
    settings = {"width": width, "width_argument": width_argument, "norm": norm, "scale": scale}
    settings |= {"in_channels": in_channels, "blocks": blocks, **own}
    with called(), own_threads():
        paths, named = [expanded(model) for model in models], spec_of(arch)
        with naming(named, arguments=settings, to_open=bool(paths)):
            return profile_document(
                paths,
                network=network_asked_for(named, settings, paths, part, size=size, weights=latency),
                size=size,
                batch_size=batch_size,
                part=part,
                latency=latency_asked_for(latency, device=device, threads=threads),
            )


def export(
    model: Place,
    out: Place,
    *,
    format: str | None = None,
    pixels: bool = False,
    precision: str | None = None,
    size: Size | Sequence[int] | str | None = None,
    beside: Place | Sequence[Place] | None = None,
    runtime: Place | None = None,
    calibrate: Place | None = None,
    min_psnr: float | None = None,
    part: str | None = None,
    arch: Code | None = None,
) -> dict[str, Any]:
    """Writes the generator of `model`, a file or a run, as one self-describing file `out`.

    Args:
        model: what to export.
        out: the file; by its suffix `.safetensors`, `.onnx`, OpenVINO's `.xml`, `.pt2`,
            ExecuTorch's `.pte`, Core ML's `.mlpackage` or a page, `.html`.
        format: `safetensors`, `onnx`, `openvino`, `pt2`, `executorch`, `coreml` or `html`, if the
            suffix does not tell.
        pixels: of `onnx` and `openvino`: bytes in and out, images of any size.
        precision: of OpenVINO's: `fp32` (the default), `bf16` or `int8`.
        size: of `executorch` and `coreml`: the one size of images that the file takes.
        calibrate: of int8: a folder of pictures as the model is to be given.
        min_psnr: of int8: dB against fp32 that no picture may fall below, by default 40.
        beside: of `html`: further generators to compare with; of a run, its teacher is one.
        runtime: of `html`: the npm package onnxruntime-web, a .tgz or folder; else fetched once.
        part: network of a file that holds several.
        arch: of a model of your own generator: its code, "FILE.py:FACTORY", or the function itself.

    Returns: `file`, `format`, `bytes`, `sha256`, `parity`; `checked` and `weights` where there are.

    Raises:
        GancompError: for whatever the caller can fix, `field` naming the argument.
    """
    with called(), naming(spec_of(arch), to_open=True):
        given = [beside] if isinstance(beside, str | os.PathLike) else beside or []
        options = {
            "pixels": pixels or None,
            "precision": precision,
            "size": None if size is None else as_pixels("size", size),
            "min_psnr": min_psnr,
            "beside": tuple(map(expanded, given)) or None,
            "runtime": None if runtime is None else expanded(runtime),
        }
        return export_recipe(
            expanded(model),
            expanded(out),
            format=format,
            part=part,
            options=options,
            calibrate=None if calibrate is None else expanded(calibrate),
            say=log,
        )
