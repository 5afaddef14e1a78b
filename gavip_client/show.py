"""How answers are shown: tables and facts for people, JSON for scripts."""

from __future__ import annotations

import json
from typing import Any

import click
import httpx

_FIRST = (
    "id",
    "name",
    "state",
    "title",
    "avi",
    "pipeline",
    "waiting_for",
    "version",
    "size",
    "created",
)
"""What people look for in a list, in this order; other columns follow as they come."""

_NAMES = ("title", "name", "kind", "id")
"""By which a thing within a thing is called, the best first."""

_COLUMNS = 7
_WIDTH = 44


def render(answer: httpx.Response, as_json: bool) -> None:
    """Print an answer."""
    if answer.status_code == 204 or not answer.content:
        click.echo("{}" if as_json else "Done.")
        return
    if not answer.headers.get("content-type", "").startswith("application/json"):
        click.echo(answer.content, nl=False)
        return
    data = answer.json()
    if as_json:
        click.echo(json.dumps(data, indent=1))
        return
    rows = _rows(data)
    if rows is None:
        _facts(data)
    elif rows:
        _table(rows)
    else:
        click.echo("Nothing here.")


def _rows(data: Any) -> list[dict[str, Any]] | None:
    if isinstance(data, dict):
        data = data.get("items", data.get("entries"))
    if isinstance(data, list) and all(isinstance(row, dict) for row in data):
        return data
    return None


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list) and all(isinstance(item, (dict, str)) for item in value):
        # what people call the things; all about them is in the JSON
        return ", ".join(map(_name, value)) or "–"
    text = value if isinstance(value, str) else json.dumps(value)
    # control characters of names must not reach the terminal
    return "".join(c if c.isprintable() else "�" for c in text)


def _name(item: Any) -> str:
    if isinstance(item, dict):
        item = next((item[key] for key in _NAMES if item.get(key)), item)
    return _text(item)


def _facts(data: Any) -> None:
    if not isinstance(data, dict):
        click.echo(_text(data))
        return
    width = max(map(len, data), default=0)
    for key, value in data.items():
        if isinstance(value, dict) and value:
            click.echo(f"{key}:")
            for name, inner in value.items():
                click.echo(f"  {name}: {_text(inner)}")
        else:
            click.echo(f"{key.ljust(width)}  {_text(value)}")


def _table(rows: list[dict[str, Any]]) -> None:
    flat = [k for k, v in rows[0].items() if not isinstance(v, (dict, list))]
    rank = {name: i for i, name in enumerate(_FIRST)}
    columns = sorted(flat, key=lambda name: rank.get(name, len(rank)))[:_COLUMNS]
    cells = [columns] + [[_text(row.get(c))[:_WIDTH] for c in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        click.echo("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip())
