"""The IPython extension that every kernel of GAVIP loads: import path, and errors people can read.

Invariants: the release's own modules can be imported and the working folder cannot shadow them; in interface mode no
traceback leaves the kernel process (it goes to the instance's log); in pipeline mode the traceback stays in the
executed notebook, and the error travels to the runner as data.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from gavip_api.enums import Mode

from .errors import explain, explain_name
from .reporting import ERROR_MIME
from .surroundings import context

INTERFACE_HINT = "Reload the page to start again; if it happens again, tell the author of this AVI."


def _fix_path(release_dir: str) -> None:
    # the kernel's working folder is writable by the user: a file named like a module must not be imported from it
    sys.path[:] = [release_dir, *(p for p in sys.path if p not in {"", release_dir})]


def load_ipython_extension(shell: Any) -> None:
    """Prepare `shell` (called by IPython)."""
    ctx = context()
    if ctx.release_dir is not None:
        _fix_path(str(ctx.release_dir))
    if ctx.mode is Mode.INTERFACE:
        _show_clean_errors(shell)
    elif ctx.mode is Mode.PIPELINE:
        shell.set_custom_exc((Exception,), _show_for_runner)


def _show_clean_errors(shell: Any) -> None:
    # `_showtraceback` is the one hook below all formatting: cells, syntax errors and ipywidgets' callbacks end in it
    publish = shell._showtraceback

    def show(kind: type[BaseException], error: BaseException | str, lines: list[str]) -> None:
        print(*lines, sep="\n", file=sys.__stderr__, flush=True)
        told = (
            explain(error)
            if isinstance(error, BaseException)
            else explain_name(kind.__name__, error)
        )
        if told.code == "notebook-error":
            told = replace(told, hint=INTERFACE_HINT)
        publish(kind, told.message, [told.message, told.hint] if told.hint else [told.message])

    shell._showtraceback = show


def _show_for_runner(
    shell: Any, kind: type[BaseException], error: BaseException, tb: Any, tb_offset: Any = None
) -> None:
    from IPython.display import display

    bundle = {ERROR_MIME: {**vars(explain(error)), "name": kind.__name__}, "text/plain": ""}
    display(bundle, raw=True)  # type: ignore[no-untyped-call]
    shell.showtraceback((kind, error, tb), tb_offset=tb_offset)
