"""The ``avi`` command, present wherever the framework is: ``avi run``.

Invariant: the options of a pipeline come from its declaration in ``avi.yaml`` and from nowhere else.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click

from gavip_api import environment as env
from gavip_api.enums import Mode
from gavip_api.errors import GavipError
from gavip_api.parameters import ParameterSpec

from .surroundings import Context, context, read

_TYPES: dict[str, Any] = {
    "number": click.FLOAT,
    "integer": click.INT,
    "string": click.STRING,
    "boolean": click.BOOL,
}


class _Problem(click.ClickException):
    def __init__(self, error: GavipError) -> None:
        super().__init__(f"{error.message}\n{error.hint or ''}".strip())


def _option(name: str, spec: ParameterSpec) -> click.Option:
    said = [spec.title or spec.description, f"[{spec.unit}]" if spec.unit else ""]
    kind = click.Choice([str(v) for v in spec.enum]) if spec.enum else _TYPES[spec.type]
    return click.Option(
        [f"--{name.replace('_', '-')}", name],
        type=kind,
        required=spec.default is None,
        help=" ".join(
            filter(None, [*said, f"default: {spec.default}" if spec.default is not None else ""])
        ),
    )


class _Pipelines(click.Group):
    """One subcommand for each declared pipeline."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_manifest_pipelines())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        spec = _manifest_pipelines().get(cmd_name)
        if spec is None:
            return None
        output = click.Option(
            ["--output", "output_"],
            type=click.Path(file_okay=False, path_type=Path),
            help="Folder of the data product; default: a new one here.",
        )

        def run(output_: Path | None, **values: Any) -> None:
            given = {k: v for k, v in values.items() if v is not None}
            sys.exit(run_here(context(), cmd_name, given, output_))

        return click.Command(
            cmd_name,
            params=[*(_option(n, s) for n, s in spec.parameters.items()), output],
            callback=run,
            help=spec.description or None,
            short_help=spec.title,
        )


def _manifest_pipelines() -> dict[str, Any]:
    try:
        return dict(context().manifest.pipelines)
    except GavipError as e:
        raise _Problem(e) from None


def run_here(ctx: Context, name: str, parameters: dict[str, Any], output: Path | None) -> int:
    """Run a pipeline in this process, showing progress on stderr; return the exit status."""
    from .runner import product
    from .runner.main import Run, perform

    folder = (output or Path(f"{name}-{datetime.now(timezone.utc):%Y%m%dT%H%M%S}")).absolute()
    if (folder / product.RESULT).exists():
        raise click.ClickException(f"{folder} holds a data product already; choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    pipeline_mode = read({**os.environ, env.MODE: str(Mode.PIPELINE)}, Path.cwd())

    def tell(done: float, total: float, task: str, message: str) -> None:
        share = f"{done / total:4.0%}" if total else "    "
        click.echo(f"{share}  {task}{': ' if message else ''}{message}", err=True)

    def on_watch(watch: Any) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: watch.stop("cancelled"))

    result = perform(Run(pipeline_mode, name, parameters, folder), tell, on_watch)
    if result.error is not None:
        where = f" (cell {result.error.cell})" if result.error.cell else ""
        click.secho(f"{result.error.message}{where}", fg="red", err=True)
        click.echo(result.error.hint, err=True)
    for name_ in result.outputs:
        click.echo(folder / name_)
    return 0 if result.ok else 1


@click.group()
def main() -> None:
    """Work with the AVI in this folder."""


@main.group(cls=_Pipelines, name="run")
def run() -> None:
    """Run a pipeline of this AVI, here and now."""
