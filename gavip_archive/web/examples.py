"""/tap/examples: queries to start from, as XHTML with RDFa (DALI 1.1, section 2.3).

The page is the service's face for people, too: it says what the archive holds and how to ask it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, tostring

import yaml

from gavip_archive.tableset import Tableset

from .base import TextErrorHandler

_STYLE = """
:root { color-scheme: light dark;
  --ground: #fff; --text: #14213d; --soft: #f1f4f9; --accent: #00757a; --edge: #cfd8e6; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #0b1530; --text: #e6ecf7; --soft: #142146; --accent: #4fd1c5; --edge: #2b3b66; } }
body { background: var(--ground); color: var(--text); font: 1rem/1.55 system-ui, sans-serif; margin: 0 auto;
  max-width: 56rem; padding: 1.5rem 1rem 4rem; }
a { color: var(--accent); } a:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
pre { background: var(--soft); border: 1px solid var(--edge); border-radius: .4rem; overflow-x: auto; padding: .8rem; }
table { border-collapse: collapse; width: 100%; } td, th { border-bottom: 1px solid var(--edge); padding: .35rem .5rem;
  text-align: left; vertical-align: top; } code { overflow-wrap: break-word; }
h2 { margin-top: 2.2rem; }
"""


@dataclass(frozen=True)
class Example:
    """One example query."""

    id: str
    title: str
    text: str
    query: str


@cache
def load_examples() -> tuple[Example, ...]:
    """Return the examples of ``examples.yaml``."""
    text = resources.files("gavip_archive").joinpath("data/examples.yaml").read_text("utf-8")
    return tuple(Example(**entry) for entry in yaml.safe_load(text))


def examples_page(base: str, tableset: Tableset) -> bytes:
    """Return the page."""
    html = Element(
        "html", {"xmlns": "http://www.w3.org/1999/xhtml", "lang": "en", "xml:lang": "en"}
    )
    head = SubElement(html, "head")
    SubElement(head, "meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"})
    SubElement(head, "title").text = "GAVIP archive: example queries"
    SubElement(head, "style").text = _STYLE
    body = SubElement(html, "body")
    main = SubElement(body, "main", {"vocab": "http://www.ivoa.net/rdf/examples#"})
    SubElement(main, "h1").text = "GAVIP archive"
    _introduction(main, base)
    _contents(main, tableset)
    SubElement(main, "h2").text = "Example queries"
    for example in load_examples():
        _example(main, example, base)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(html, encoding="utf-8")


def _introduction(parent: Element, base: str) -> None:
    text = SubElement(parent, "p")
    text.text = (
        "A TAP 1.1 service with real stars. Give this address to TOPCAT, pyvo or any TAP client: "
    )
    SubElement(text, "code").text = base
    links = SubElement(parent, "p")
    for path, label in (
        ("tables", "Tables"),
        ("capabilities", "Capabilities"),
        ("availability", "Availability"),
    ):
        SubElement(links, "a", {"href": f"{base}/{path}"}).text = label
        links[-1].tail = " · " if path != "availability" else ""


def _contents(parent: Element, tableset: Tableset) -> None:
    SubElement(parent, "h2").text = "Tables"
    table = SubElement(parent, "table")
    header = SubElement(SubElement(table, "thead"), "tr")
    for name in ("Table", "Contents"):
        SubElement(header, "th", {"scope": "col"}).text = name
    body = SubElement(table, "tbody")
    for each in tableset.tables:
        if each.schema != "tap_schema":
            row = SubElement(body, "tr")
            cell = SubElement(SubElement(row, "td"), "code")
            cell.text = f"{each.schema}."
            SubElement(cell, "wbr").tail = each.name  # on a phone the name may break here
            SubElement(row, "td").text = each.description


def _example(parent: Element, example: Example, base: str) -> None:
    block = SubElement(
        parent, "div", {"id": example.id, "resource": f"#{example.id}", "typeof": "example"}
    )
    SubElement(block, "h3", {"property": "name"}).text = example.title
    SubElement(block, "p").text = example.text
    SubElement(block, "pre", {"property": "query", "tabindex": "0"}).text = example.query.strip()
    run = SubElement(block, "p")
    address = (
        f"{base}/sync?LANG=ADQL&RESPONSEFORMAT=tsv&MAXREC=20&QUERY={quote(example.query.strip())}"
    )
    SubElement(run, "a", {"href": address}).text = "Show 20 rows"
    run[-1].set("aria-label", f"Show 20 rows of: {example.title}")


class ExamplesHandler(TextErrorHandler):
    """/tap/examples."""

    def get(self) -> None:
        """Return the page."""
        self.set_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.answer(
            examples_page(self.archive.base, self.archive.tableset),
            "application/xhtml+xml; charset=UTF-8",
        )
