"""A layout of checkpoints: a plain net that its author saved under the name `body`."""

from __future__ import annotations

from typing import Any

from gancomp.export.foreign import Recognized


def recognize_plain(state: Any) -> Recognized | None:
    """A plain net that its author saved under the name `body`."""
    if "body.0.weight" not in state:
        return None
    renamed = {name.replace("body.", "model."): value for name, value in state.items()}
    width = len(state["body.0.weight"])
    return Recognized("plain-net", {"width": width}, "plain-body", renamed)


GANCOMP = {"checkpoints": {"plain-body": recognize_plain}}
