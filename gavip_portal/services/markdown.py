"""READMEs of AVIs as HTML. The authors are untrusted, so the renderer, not a filter behind it, decides what exists."""

from __future__ import annotations

import re
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

MAX_SOURCE = 128 * 1024
"""Characters of a README that are rendered."""

_SAFE_LINK = re.compile(r"(?:https?://|mailto:|#)", re.IGNORECASE)


def _renderer() -> MarkdownIt:
    # `html: False` shows raw HTML as text; images are left out because a page of ours may load nothing foreign
    md = MarkdownIt("commonmark", {"html": False, "linkify": False, "maxNesting": 20})
    md.enable(["table", "strikethrough"]).disable("image")
    md.validateLink = lambda url: bool(_SAFE_LINK.match(url))  # type: ignore[method-assign]
    md.add_render_rule("link_open", _link_open)
    md.add_render_rule("heading_open", _heading)
    md.add_render_rule("heading_close", _heading)
    md.add_render_rule("table_open", _table_open)
    md.add_render_rule("table_close", _table_close)
    return md


def _link_open(self: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    if not str(tokens[index].attrGet("href") or "").startswith("#"):
        tokens[index].attrSet("rel", "noopener noreferrer nofollow ugc")
    return str(self.renderToken(tokens, index, options, env))


def _heading(self: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    # the page owns h1 and h2: a README's headings go below them, in unbroken order for screen readers
    tokens[index].tag = f"h{min(6, int(tokens[index].tag[1]) + 2)}"
    return str(self.renderToken(tokens, index, options, env))


def _table_open(self: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    return '<div class="table-responsive" tabindex="0"><table class="table table-sm">'


def _table_close(self: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    return "</table></div>"


_MARKDOWN = _renderer()


def render(source: str) -> Markup:
    """Return Markdown as HTML without scripts, styles, images, raw HTML or unsafe links.

    Parameters
    ----------
    source : str
        CommonMark with tables; cut after :data:`MAX_SOURCE` characters.
    """
    return Markup(_MARKDOWN.render(source[:MAX_SOURCE]))  # noqa: S704 - escaped by the renderer
