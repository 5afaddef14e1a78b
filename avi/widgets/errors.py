"""Errors in callbacks, shown where the user looks.

Invariant: a callback under :func:`guard` never prints a traceback to the page; the log gets it when it is unexpected.
"""

from __future__ import annotations

import sys
import traceback
from typing import Any

from avi.errors import GavipError, explain

from .theme import alert


def show(notice: Any, error: BaseException) -> None:
    """Show `error` in an HTML widget and log it when it is not one of ours."""
    if not isinstance(error, GavipError):
        # the real stderr: ipykernel's would put it on the page
        traceback.print_exception(type(error), error, error.__traceback__, file=sys.__stderr__)
    told = explain(error)
    hint = (
        told.hint
        if told.code != "notebook-error"
        else "Try again; if it happens again, tell the author."
    )
    title = error.title if isinstance(error, GavipError) else "Something went wrong"
    notice.value = alert(told.message, hint, f"{title}.")


class guard:  # noqa: N801 - a context manager, used like a function
    """Clear `notice`, run the block, and show its error there if it raises.

    Parameters
    ----------
    notice : ipywidgets.HTML
        Where to show it.
    """

    def __init__(self, notice: Any) -> None:
        self._notice = notice

    def __enter__(self) -> None:
        self._notice.value = ""

    def __exit__(self, kind: Any, error: BaseException | None, tb: Any) -> bool:
        if not isinstance(error, Exception):
            return False
        show(self._notice, error)
        return True
