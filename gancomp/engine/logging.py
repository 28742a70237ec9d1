"""Optional loggers beside `metrics.jsonl`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gancomp.errors import ConfigError


def tensorboard_logger(run: Path) -> Callable[[dict[str, Any]], None]:
    """Writes every metrics record as TensorBoard scalars below `run/tensorboard`.

    Raises:
        ConfigError: if the tensorboard package is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "`tensorboard`: needs the tensorboard package; pip install gancomp[tensorboard]"
        ) from error
    writer = SummaryWriter(str(run / "tensorboard"))

    def log(record: dict[str, Any]) -> None:
        step = record["step"]
        for name, value in record["losses"].items():
            writer.add_scalar(f"losses/{name}", value, step)
        for name in ("images_per_second", "memory_mb"):
            writer.add_scalar(name, record[name], step)
        writer.flush()

    return log
