"""What processes that try ways are given in tests: they import it by name."""

from __future__ import annotations

import os
import time
from typing import Any


def prepared() -> Any:
    """Ways as they come: fast, slow, failing, dying, never ending."""

    def measure(way: str) -> dict[str, Any]:
        if way == "fails":
            raise ValueError("no such thing\nhere")
        if way == "dies":
            os._exit(3)
        if way == "never ends":
            time.sleep(600)
        if way == "other losses":
            return {"images_per_second": 99.0, "losses": {"a": 3.0, "b": 0.1}}
        rate = {"off": 10.0, "fast": 30.0, "slow": 5.0}[way]
        return {"images_per_second": rate, "losses": {"a": 1.0 + rate / 500, "b": 0.1}}

    return measure


def unprepared() -> Any:
    raise RuntimeError("no networks")
