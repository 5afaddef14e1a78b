"""``gavip``: the command line.

Owns the command group and how errors are shown. Commands that run parts of the platform itself
(``gavip up``) are found through the entry-point group ``gavip.commands``, so that the client imports
nothing but :mod:`gavip_api`.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points

import click

from gavip_api import __version__
from gavip_api.errors import GavipError

from . import document
from .commands import groups
from .session import DEFAULT_URL, Session

ENTRY_POINT_GROUP = "gavip.commands"


def _url(ctx: click.Context) -> str:
    # --help lists commands before options that only the environment gives are bound
    return str(ctx.params.get("url") or os.environ.get("GAVIP_URL") or DEFAULT_URL)


class PluginGroup(click.Group):
    """A group whose further commands come from entry points, imported only when named, and from the platform."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, without importing the commands."""
        found = {point.name for point in entry_points(group=ENTRY_POINT_GROUP)}
        known = document.kept(_url(ctx))
        made = set(groups(known)) if known else set()
        return sorted(found | made | set(super().list_commands(ctx)))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by name, or None."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        for point in entry_points(group=ENTRY_POINT_GROUP, name=cmd_name):
            try:
                command = point.load()
            except ImportError as e:
                # an extra is not installed: say which module lacks rather than fail with a traceback
                raise click.ClickException(
                    f"`gavip {cmd_name}` needs {e.name or 'a package'}, which is not installed."
                    " Install gavip[embedded]."
                ) from e
            if isinstance(command, click.Command):
                return command
        known = document.current(_url(ctx))
        return groups(known).get(cmd_name) if known else None


@click.group(cls=PluginGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gavip")
@click.option(
    "--url",
    is_eager=True,
    envvar="GAVIP_URL",
    default=DEFAULT_URL,
    show_default=True,
    help="The platform's API.",
)
@click.option(
    "--token",
    envvar="GAVIP_TOKEN",
    default="",
    help="Hub token with scope custom:portal:access; better in GAVIP_TOKEN than on the command line.",
)
@click.pass_context
def gavip(ctx: click.Context, url: str, token: str) -> None:
    """Bring code to the archive: run, write and publish AVIs.

    The commands beside `up` are those of the platform that --url names; they appear once it was asked.
    """
    ctx.obj = Session(url, token)


def main() -> None:
    """Entry point; shows our errors as cause and next step, with exit code 1."""
    try:
        gavip()
    except GavipError as e:
        click.secho(f"Error: {e.message}", fg="red", err=True)
        if e.hint:
            click.echo(e.hint, err=True)
        sys.exit(1)
