"""Processes for tests that have imported everything already."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from pathlib import Path

# read once, when torch is imported; gancomp sets it before that where it is one of several ranks
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

# importing takes seconds; the server does it once and forks each run from there
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(
    [
        "pytest",
        "torch._dynamo",
        "numpy.random",
        "gancomp.bench.synthesis",
        "gancomp.bench.train",
        "gancomp.cli",
        "gancomp.data.demo_set",
        "gancomp.data.loader",
        "gancomp.methods.dcd",
        "gancomp.networks.patchgan",
        "gancomp.networks.resnet",
        "gancomp.recipes.distill",
        "gancomp.recipes.profile",
        "gancomp.methods.dgl",
        "gancomp.methods.srgan_alone",
        "gancomp.networks.srgan_discriminator",
        "gancomp.networks.stylegan2_discriminator",
        "gancomp.tasks.paired",
        "gancomp.tasks.super_resolution",
        "gancomp.tasks.unpaired",
        "gancomp.training.ways",
    ]
)


def leave_with_7_if_refused(file: Path) -> None:
    """Reads weights where nobody is hurt if that ends the process."""
    from gancomp.errors import CheckpointError
    from gancomp.export.containers import read_torch

    try:
        read_torch(file)
    except CheckpointError:
        sys.exit(7)


def run_script(script: Path, arguments: list[str], folder: Path, said: Path) -> None:
    """What `python SCRIPT ARGUMENTS` does in a folder; it prints to `said`.out and `said`.err."""
    import torch

    os.chdir(folder)
    for number, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(said.with_suffix(suffix), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent))
    runpy.run_path(str(script), run_name="__main__")
