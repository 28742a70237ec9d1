"""Seeds derived from (seed, purpose, position): nothing random needs a state that could be lost."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *keys: str | int) -> int:
    """A 63-bit seed that depends on `seed` and every key, and on nothing else.

    Two different key sequences give unrelated seeds; the result is the same on every machine
    and in every worker process, which is what makes a resumed run equal to an unbroken one.
    """
    text = "\x1f".join([str(seed), *(f"{type(key).__name__}:{key}" for key in keys)])
    return (
        int.from_bytes(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:8], "big") >> 1
    )


def derive_generator(seed: int, *keys: str | int) -> torch.Generator:
    """A CPU generator seeded with `derive_seed(seed, *keys)`."""
    return torch.Generator().manual_seed(derive_seed(seed, *keys))
