"""Self-contained web pages: one file that runs from a disk, without a network or a build step."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parent
# what a script of a page could not hold, as HTML would end it there
ENDINGS = re.compile(r"<(?=/script|!--)", re.IGNORECASE)
SHELL = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="gancomp">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{styles}</style>
</head>
<body>
{body}
{scripts}
</body>
</html>
"""


def asset(name: str) -> str:
    """The text of a file of this folder, such as `theme.css`."""
    return (FOLDER / name).read_text(encoding="utf-8")


def policy(scripts: Sequence[str], more: Sequence[str] = ()) -> str:
    """A Content-Security-Policy that lets a page run these scripts and load nothing from anywhere.

    Args:
        scripts: as `page` takes them.
        more: further directives; one of `script-src` is added to the scripts.
    """
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(_inline(text).encode()).digest()).decode()}'"
        for text in scripts
    ]
    allowed = [item.removeprefix("script-src ") for item in more if item.startswith("script-src ")]
    sources = [*hashes, *allowed] or ["'none'"]
    others = [item for item in more if not item.startswith("script-src ")]
    return "; ".join(
        [
            "default-src 'none'",
            "script-src " + " ".join(sources),
            "style-src 'unsafe-inline'",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
            *others,
        ]
    )


def page(
    title: str,
    body: str,
    *,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    more_policy: Sequence[str] = (),
) -> str:
    """One HTML document that needs no other file, and is not let to ask for one.

    Args:
        title: as text.
        body: as HTML, data blocks included.
        styles: sheets, in their order.
        scripts: classic scripts, run in their order when the body is there.
        more_policy: directives beside those of `policy`.
    """
    return SHELL.format(
        policy=html.escape(policy(scripts, more_policy)),
        title=html.escape(title),
        styles="".join(styles),
        body=body,
        scripts="\n".join(f"<script>{_inline(text)}</script>" for text in scripts),
    )


def data_block(name: str, content: str, kind: str = "application/json") -> str:
    """A block of text that scripts find by `document.getElementById(name).textContent`.

    Args:
        name: the id.
        content: text that has no `<`, or JSON.
        kind: media type; none that a browser would run.
    """
    text = content.replace("<", "\\u003c") if kind == "application/json" else content
    assert "<" not in text
    return f'<script type="{kind}" id="{html.escape(name)}">{text}</script>'


def _inline(script: str) -> str:
    return ENDINGS.sub(r"\\x3C", script)
