"""Compiles every Triton kernel for an H100, which needs no GPU; prints their names."""

from __future__ import annotations

import inspect
import tempfile
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from gancomp.networks import fused_kernels as kernels

FLOATS, WHOLE = {"eps", "slope"}, {"rows", "channels", "splits", "chunk", "height", "width"}
MAPS = {"x", "y", "grad", "dx"}
CONSTANTS = {"PAD": 1, "ACTIVE": True, "R": 32, "C": 64}


def compile_for_h100(kernel: Any) -> None:
    names = list(inspect.signature(kernel.fn).parameters)
    constants = {name: CONSTANTS[name] for name in names if name in CONSTANTS}
    types = {}
    for name in names:
        number = "fp32" if name in FLOATS else "i32" if name in WHOLE else None
        map_type = "*bf16" if name in MAPS else "*fp32"
        types[name] = "constexpr" if name in constants else number or map_type
    source = ASTSource(
        fn=kernel,
        signature=types,
        constexprs={(names.index(name),): value for name, value in constants.items()},
    )
    assert triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        triton.knobs.cache.dir = folder
        for name in ("_finish", "_finish_gradient", "_gradient_sums", "_put_together"):
            compile_for_h100(getattr(kernels, name))
            print(name)
        compile_for_h100(kernels._statistics)
        print("_statistics")
