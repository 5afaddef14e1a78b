"""Small pieces of HTML that all widgets share. The classes are styled by ``voila_templates/…/gavip/theme.css.j2``."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from html import escape
from typing import Any

import ipywidgets as w

__all__ = ["alert", "box", "card", "clock", "duration", "escape", "html", "split"]


def box(*children: Any, classes: tuple[str, ...] = ()) -> w.Box:
    """Return a box of widgets with CSS classes."""
    made = w.VBox(list(children))
    for name in classes:
        made.add_class(name)
    return made


def card(*children: Any) -> w.Box:
    """Return a box that looks like a card."""
    return box(*children, classes=("gavip-card", "gavip-stack"))


def split(side: Any, main: Any) -> w.Box:
    """Return two columns, a narrow and a wide one; one below the other where there is little room."""
    return box(side, main, classes=("gavip-split",))


def html(value: str = "") -> w.HTML:
    """Return an HTML widget; `value` is HTML, escape what is not."""
    return w.HTML(value)


def alert(message: str, hint: str = "", title: str = "That did not work.") -> str:
    """Return an error as HTML: title, cause, next step."""
    parts = [f"<b>{escape(title)}</b>", *(f"<p>{escape(t)}</p>" for t in (message, hint) if t)]
    return f'<div class="gavip-alert" role="alert">{"".join(parts)}</div>'


def duration(seconds: float) -> str:
    """Return a duration as people read it."""
    whole = max(0, math.floor(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def clock(when: datetime) -> str:
    """Return a time as HTML; the kernel does not know the reader's zone, so it says UTC."""
    utc = when.astimezone(timezone.utc)
    return f'<time datetime="{utc.isoformat()}">{utc:%Y-%m-%d %H:%M} UTC</time>'
