"""HTML and SVG as values: text is escaped where it goes in, so that what comes from events cannot be markup.

Invariant: only `Markup` is put in unescaped, and only this module and the page's own files make it.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TypeAlias

Child: TypeAlias = "str | Markup | None | Iterable[Child]"

VOID = frozenset(("meta", "br", "rect", "path", "line", "circle"))
"""Elements without content."""

_CONTROL = dict.fromkeys((*range(9), 11, 12, *range(14, 32), *range(127, 160)), "�") | {0xFFFE: "�", 0xFFFF: "�"}
_CONTROL |= dict.fromkeys(range(0xD800, 0xE000), "�")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: str) -> Markup:
    """Plain text as HTML, control characters replaced.

    >>> text("<b>&\\x00")
    '&lt;b&gt;&amp;�'
    """
    return Markup(html.escape(value.translate(_CONTROL)))


def h(tag: str, attributes: dict[str, str | float | bool | None] | None = None, *children: Child) -> Markup:
    """An element. An attribute that is None or False is left out, one that is True has no value.

    >>> h("p", {"class": "note", "hidden": False}, "1 < 2", h("br"))
    '<p class="note">1 &lt; 2<br/></p>'
    """
    said = "".join(
        f" {name}" if value is True else f' {name}="{text(number(value) if isinstance(value, float) else str(value))}"'
        for name, value in (attributes or {}).items()
        if value is not None and value is not False
    )
    # Inside of SVG an element ends where it says so: HTML reads the stroke there as XML does.
    return Markup(f"<{tag}{said}/>" if tag in VOID else f"<{tag}{said}>{join(children)}</{tag}>")


def join(children: Child) -> Markup:
    """Children one after the other."""
    if children is None:
        return Markup("")
    if isinstance(children, Markup):
        return children
    if isinstance(children, str):
        return text(children)
    return Markup("".join(join(child) for child in children))


def name(value: str, longest: int = 120) -> Markup:
    """A name from events: cut when long, and without power over the direction of the text around it."""
    return h("bdi", None, value if len(value) <= longest else f"{value[: longest - 1]}…")


def number(value: float) -> str:
    """A number in a drawing: no more digits than can be seen.

    >>> number(12.0), number(0.12345)
    ('12', '0.12')
    """
    return f"{value:.2f}".rstrip("0").rstrip(".")
