"""``gavip``: the command line.

Owns the command group and how errors are shown. Commands that run parts of the platform itself
(``gavip up``) are found through the entry-point group ``gavip.commands``, so that the client imports
nothing but :mod:`gavip_api`.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

import click

from gavip_api import __version__
from gavip_api.errors import GavipError

ENTRY_POINT_GROUP = "gavip.commands"


class PluginGroup(click.Group):
    """A group whose further commands come from entry points and are imported only when named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, without importing the commands."""
        found = {point.name for point in entry_points(group=ENTRY_POINT_GROUP)}
        return sorted(found | set(super().list_commands(ctx)))

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
        return None


@click.group(cls=PluginGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gavip")
def gavip() -> None:
    """Bring code to the archive: run, write and publish AVIs."""


def main() -> None:
    """Entry point; shows our errors as cause and next step, with exit code 1."""
    try:
        gavip()
    except GavipError as e:
        click.secho(f"Error: {e.message}", fg="red", err=True)
        if e.hint:
            click.echo(e.hint, err=True)
        sys.exit(1)
