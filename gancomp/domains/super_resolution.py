"""What is special about runs of super-resolution: settings that follow from others."""

from __future__ import annotations

from dataclasses import asdict

from gancomp.config import merge
from gancomp.losses.perceptual import PERCEPTUAL_SOURCES, content_tap
from gancomp.settings import Json, StageSettings


def complete(values: Json, typed: Json) -> Json:
    """`values` with what follows: the discriminator's crop, the content loss's tap, lengths.

    `--max-steps` bounds the stages whose length was not typed, too.

    Args:
        values: nested settings: the preset's, the teacher's file's and what was typed.
        typed: the last of them alone.
    """
    most = (typed.get("schedule") or {}).get("max_steps")
    if isinstance(most, int) and most > 0:
        lengths = asdict(StageSettings()) | (values.get("stages") or {})
        bounded = {
            name: min(length, most)
            for name, length in lengths.items()
            if name.endswith("_steps") and name not in (typed.get("stages") or {})
        }
        values = merge(values, {"stages": bounded})
    values = merge({"discriminator": {"crop": values["data"].get("size")}}, values)
    source = values["perceptual"].get("source")
    if source in PERCEPTUAL_SOURCES and source != "none":
        values = merge({"method": {"options": {"content_tap": content_tap(source)}}}, values)
    return values
