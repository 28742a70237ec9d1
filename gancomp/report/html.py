"""HTML made of elements: text becomes harmless by itself, whatever the names of files hold."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

EMPTY = ("img", "br", "input")  # elements that have no content


class Html(str):
    """Text that is HTML already; any other text is escaped where it is put into an element."""

    __slots__ = ()


Content = str | Html | Iterable["str | Html"]


def element(name: str, *content: Content, **attributes: str | int | bool | None) -> Html:
    """The element called `name`.

    Args:
        name: of the element.
        content: text or elements.
        attributes: by name, `class_` and the like for Python's words, `_` for `-`; True for one
            without a value; left out where None or False.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}"
        + ("" if value is True else f'="{html.escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in EMPTY:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{joined(*content)}</{name}>")


def joined(*content: Content) -> Html:
    """All of it, one after the other."""
    parts: list[str] = []
    for item in content:
        if isinstance(item, Html):
            parts.append(item)
        elif isinstance(item, str):
            parts.append(html.escape(item))
        else:
            parts.append(joined(*item))
    return Html("".join(parts))


def table(
    columns: Sequence[str | Html], rows: Iterable[Sequence[str | Html]], *, caption: str
) -> Html:
    """A table that scrolls by itself where the screen is narrow; each row's first cell heads it.

    Args:
        columns: their titles.
        rows: their cells.
        caption: read out by screen readers, not shown.
    """
    head = element("tr", [element("th", title, scope="col") for title in columns])
    body = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            [element("td", cell) for cell in row[1:]],
        )
        for row in rows
    ]
    return element(
        "div",
        element(
            "table",
            element("caption", caption, class_="visually-hidden"),
            element("thead", head),
            element("tbody", body),
        ),
        class_="scroll",
        role="region",
        tabindex=0,
        aria_label=caption,
    )


def details(summary: Content, *content: Content, open_: bool = False, **more: str) -> Html:
    """What is folded away until it is asked for."""
    return element("details", element("summary", summary), *content, open=open_, **more)
