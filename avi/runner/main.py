"""One run from its environment to its result.

Invariants: parameters are checked again here, whoever checked them before; the notebook is read from the release and
never written there; a result is left for every ending that leaves this process alive.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avi.surroundings import Context, read
from gavip_api import environment as env
from gavip_api import parameters as declared
from gavip_api.enums import Mode
from gavip_api.errors import GavipError, InvalidInput, NotFound
from gavip_api.manifest import PipelineSpec
from gavip_api.models import JobError, RunResult, utcnow

from . import product
from .failures import job_error
from .report import Reporter, sink_for

log = logging.getLogger("avi.runner")

_NOT_FOR_NOTEBOOKS = (env.JOB_TOKEN, env.JOB_URL)
"""Variables that the code of an AVI does not get: the runner alone reports."""


@dataclass(frozen=True)
class Run:
    """One execution of one pipeline.

    Parameters
    ----------
    context : Context
        Pipeline mode, with release, archive and user.
    pipeline : str
        Name in the manifest.
    parameters : dict
        As given; checked by :func:`execute`.
    output_dir : Path
        Existing folder that becomes the product.
    """

    context: Context
    pipeline: str
    parameters: dict[str, Any]
    output_dir: Path


def release_file(release_dir: Path, name: str) -> Path:
    """Return a file of the release.

    Raises
    ------
    NotFound
        If it is missing, no file, or leads out of the release through a link.
    """
    root = release_dir.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root) or not path.is_file():
        raise NotFound(
            f"The release has no file {name!r}.",
            hint="Check the path in avi.yaml, commit the file and release the AVI again.",
        )
    return path


def _language(metadata: Any) -> str:
    # both entries are optional (nbformat 4, "Top-level structure"); tools that write notebooks often leave them out
    for entry, key in (("kernelspec", "language"), ("language_info", "name")):
        found = metadata.get(entry)
        if isinstance(found, dict) and isinstance(found.get(key), str) and found[key]:
            return str(found[key])
    return "python"


def load_notebook(path: Path) -> Any:
    """Read a notebook; one that does not name its language counts as Python.

    Raises
    ------
    InvalidInput
        If it is not a notebook of format 4.
    """
    import nbformat
    from nbformat.reader import NotJSONError

    try:
        node = nbformat.read(str(path), as_version=4)  # type: ignore[no-untyped-call]
    except (NotJSONError, nbformat.ValidationError, ValueError, AttributeError, KeyError) as e:
        raise InvalidInput(
            f"{path.name} is not a Jupyter notebook: {' '.join(str(e).split())[:200]}",
            hint="Open and save it with JupyterLab, and release the AVI again.",
        ) from None
    language = _language(node.metadata)
    if language.lower() != "python":
        raise InvalidInput(
            f"{path.name} is written in {language}; pipelines run Python notebooks.",
            hint="Call programs in other languages from a Python notebook.",
        )
    return node


def _kernel_env(run: Run, spec: PipelineSpec, parameters_file: Path) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if k not in _NOT_FOR_NOTEBOOKS}
    release = str(run.context.release_dir)
    return {
        **inherited,
        env.MODE: str(Mode.PIPELINE),
        env.RELEASE_DIR: release,
        env.PIPELINE: run.pipeline,
        env.PARAMETERS_FILE: str(parameters_file),
        env.OUTPUT_DIR: str(run.output_dir),
        env.ARCHIVE_URL: run.context.archive_url,
        env.ARCHIVE_QUERIES: str(spec.resources.archive),
        "PYTHONPATH": os.pathsep.join(filter(None, [release, os.environ.get("PYTHONPATH", "")])),
        "PYTHONDONTWRITEBYTECODE": "1",  # the release is read-only
        "PLOOMBER_STATS_ENABLED": "false",
    }


def execute(run: Run, spec: PipelineSpec, parameters: dict[str, Any], watch: Any) -> None:
    """Execute the pipeline's notebook in the output folder.

    Raises
    ------
    Exception
        Whatever papermill, the kernel or the checks raise; :func:`gavip_api`-style errors and papermill's are mapped by
        :func:`avi.runner.failures.job_error`.
    """
    if spec.notebook is None or run.context.release_dir is None:
        raise InvalidInput(
            f"The pipeline {run.pipeline!r} is a ploomber spec, which is not yet supported.",
            hint="Declare a notebook instead: `notebook: pipelines/name.ipynb`.",
        )
    node = load_notebook(release_file(run.context.release_dir, spec.notebook))
    parameters_file = run.output_dir / ".parameters.json"
    product.write_atomically(parameters_file, json.dumps(parameters))

    from papermill.execute import (
        execute_notebook,
    )  # half of a small job's time: after the cheap checks

    from .engine import ENGINE

    try:
        execute_notebook(
            node,
            # papermill formats the path with the parameters: braces in it are literal
            str(run.output_dir / product.EXECUTED).replace("{", "{{").replace("}", "}}"),
            parameters=parameters,
            engine_name=ENGINE,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            cwd=str(run.output_dir),
            watch=watch,
            kernel_env=_kernel_env(run, spec, parameters_file),
        )
    finally:
        parameters_file.unlink(missing_ok=True)


def _facts(run: Run, parameters: dict[str, Any]) -> dict[str, Any]:
    ctx = run.context
    return {
        "avi": ctx.avi or ctx.manifest.name,
        "release": ctx.release,
        "pipeline": run.pipeline,
        "parameters": parameters,
        "archive": ctx.archive_url,
        "job": ctx.environ.get(env.JOB_ID),
        "attempt": int(ctx.environ.get(env.JOB_ATTEMPT) or 1),
    }


def perform(
    run: Run,
    tell: Callable[[float, float, str, str], None],
    on_watch: Callable[[Any], None] = lambda watch: None,
) -> RunResult:
    """Check, execute and record one run; every ending becomes a result.

    Parameters
    ----------
    run : Run
        What to run.
    tell : callable
        Called with done, total, task and message.
    on_watch : callable
        Given the handle that stops the execution, before it begins.
    """
    from .engine import Watch

    watch = Watch(tell)
    on_watch(watch)
    started = utcnow()
    parameters: dict[str, Any] = dict(run.parameters)
    error: JobError | None = None
    try:
        spec = run.context.pipeline(run.pipeline)
        parameters = declared.check(spec.parameters, run.parameters)
        execute(run, spec, parameters, watch)
    except (Exception, KeyboardInterrupt) as e:
        error = job_error(e, stopped=watch.stopped, cell=watch.cell, explained=watch.explained)
        if error.cell is not None and not isinstance(e, GavipError):
            log.info("%s", e)  # the author's traceback, as papermill puts it
        elif error.code == "runner-error":
            log.exception("the runner failed")
    if watch.stopped == "fenced":
        # the folder belongs to the attempt that took over: leave nothing in it
        return RunResult(ok=False, error=error)
    try:
        facts = _facts(run, parameters)
    except GavipError:
        facts = {"pipeline": run.pipeline, "parameters": parameters}
    record = product.provenance(run.output_dir, facts, started, utcnow())
    record["error"] = error.model_dump(exclude_none=True) if error else None
    product.write_atomically(run.output_dir / product.PROVENANCE, json.dumps(record, indent=1))
    result = RunResult(ok=error is None, error=error, outputs=product.outputs(run.output_dir))
    product.write_result(run.output_dir, result)
    return result


def _from_environment() -> Run:
    ctx = read({**os.environ, env.MODE: str(Mode.PIPELINE)}, Path.cwd())
    missing = [v for v in (env.PIPELINE, env.OUTPUT_DIR) if not ctx.environ.get(v)]
    if missing:
        raise InvalidInput(
            f"The environment lacks {' and '.join(missing)}.",
            hint="`python -m avi.runner` is started by the platform; by hand use `avi run`.",
        )
    output = Path(ctx.environ[env.OUTPUT_DIR])
    output.mkdir(parents=True, exist_ok=True)
    return Run(ctx, ctx.environ[env.PIPELINE], {}, output)


def main() -> int:
    """Run the job that the environment describes; return the exit status."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    for chatty in ("papermill", "httpx", "traitlets", "matplotlib"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # a stop may be asked for before there is anything to stop: it is remembered
    asked: list[str] = []
    watches: list[Any] = []

    def stop(why: str) -> None:
        asked.append(why)
        for watch in watches:
            watch.stop(why)

    def on_watch(watch: Any) -> None:
        watches.append(watch)
        if asked:
            watch.stop(asked[0])

    def on_signal(number: int, frame: Any) -> None:
        stop("cancelled")

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    try:
        run = _from_environment()
    except GavipError as e:
        log.error("%s %s", e.message, e.hint or "")
        return 1
    environ = run.context.environ
    reporter = Reporter(
        lambda: sink_for(environ.get(env.JOB_URL), environ.get(env.JOB_TOKEN)),
        int(environ.get(env.JOB_ATTEMPT) or 1),
        lambda: stop("fenced"),
    )
    reporter.tell(0, 0, "Starting", "Loading the pipeline")
    try:
        given = run.context.job_parameters
    except GavipError as e:
        result = RunResult(ok=False, error=job_error(e))
        product.write_result(run.output_dir, result)
    else:
        result = perform(
            Run(run.context, run.pipeline, given, run.output_dir), reporter.tell, on_watch
        )
    reporter.close()
    if result.error is not None:
        log.error("%s %s", result.error.message, result.error.hint)
    return 0 if result.ok else 1
