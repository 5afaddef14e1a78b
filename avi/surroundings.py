"""Where the code runs: the only reader of the environment and of ``avi.yaml``.

Invariant: nothing else in the framework reads a ``GAVIP_*`` variable, so a mode is decided in one place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gavip_api import environment as env
from gavip_api.enums import Mode
from gavip_api.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from gavip_api.manifest import Manifest, PipelineSpec

ESA_ARCHIVE = "https://gea.esac.esa.int/tap-server/tap"
"""The Gaia archive of ESA: what an AVI on an author's laptop asks by default."""

MANIFEST_NAME = "avi.yaml"
MAX_PARAMETERS_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Context:
    """The surroundings of this process.

    Attributes
    ----------
    mode : Mode
        How the code runs.
    release_dir : Path or None
        Folder of ``avi.yaml``; None when no manifest was found.
    environ : mapping
        The variables it was read from.
    """

    mode: Mode
    release_dir: Path | None
    environ: Mapping[str, str] = field(repr=False)

    @property
    def avi(self) -> str | None:
        """``owner/name`` of the AVI, or None in standalone mode."""
        return self.environ.get(env.AVI) or None

    @property
    def release(self) -> str | None:
        """Git SHA of the release, or None in standalone mode."""
        return self.environ.get(env.RELEASE) or None

    @property
    def user_space(self) -> Path:
        """The AVI's own folder, read-write; the working folder in standalone mode."""
        return Path(self.environ.get(env.USER_SPACE) or os.getcwd())

    @property
    def archive_url(self) -> str:
        """Base URL of the TAP service: the platform's, else ESA's Gaia archive."""
        return self.environ.get(env.ARCHIVE_URL) or ESA_ARCHIVE

    @property
    def api(self) -> tuple[str, str] | None:
        """URL and token of the portal's API, for an instance or for a person's JupyterLab; None without a platform."""
        url, token = self.environ.get(env.API_URL), self.environ.get(env.API_TOKEN)
        return (url.rstrip("/"), token) if url and token else None

    @cached_property
    def manifest(self) -> Manifest:
        """The AVI's manifest.

        Raises
        ------
        NotFound
            If there is no ``avi.yaml`` here or above.
        InvalidManifest
            If it has faults.
        """
        # late: pydantic is heavy, and most notebooks never need the manifest
        from gavip_api import manifest

        if self.release_dir is None:
            raise NotFound(
                f"There is no {MANIFEST_NAME} in {os.getcwd()} or in any folder above it.",
                hint="Start from the AVI's folder, or write an `avi.yaml` (docs/tutorials/write-an-avi.md).",
            )
        return manifest.load((self.release_dir / MANIFEST_NAME).read_bytes())

    def pipeline(self, name: str) -> PipelineSpec:
        """Return a declared pipeline.

        Raises
        ------
        NotFound
            If the AVI declares no pipeline of that name.
        """
        try:
            return self.manifest.pipelines[name]
        except KeyError:
            known = ", ".join(self.manifest.pipelines) or "none"
            raise NotFound(
                f"This AVI has no pipeline {name!r}.", hint=f"It has: {known}."
            ) from None

    @cached_property
    def job_parameters(self) -> dict[str, Any]:
        """The checked parameters of this job (pipeline mode), else empty.

        Raises
        ------
        InvalidInput
            If the parameters file cannot be read as a JSON object.
        """
        path = self.environ.get(env.PARAMETERS_FILE)
        return read_parameters(Path(path)) if path else {}


def read_parameters(path: Path) -> dict[str, Any]:
    """Read a file of parameters.

    Raises
    ------
    InvalidInput
        If it is missing, too large, or not a JSON object of finite values.
    """
    try:
        if path.stat().st_size > MAX_PARAMETERS_BYTES:
            raise InvalidInput(f"The parameters file {path.name} is too large.")
        value = json.loads(path.read_bytes(), parse_constant=_no_constant)
    except OSError as e:
        raise InvalidInput(
            f"The parameters file {path.name} cannot be read: {e.strerror}."
        ) from None
    except (ValueError, RecursionError) as e:
        raise InvalidInput(
            f"The parameters file {path.name} is not JSON: {str(e)[:200]}.",
            hint='It holds one JSON object, such as {"ra": 56.75}.',
        ) from None
    if not isinstance(value, dict):
        raise InvalidInput(f"The parameters file {path.name} does not hold a JSON object.")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON (RFC 8259, section 6)")


def find_release(start: Path) -> Path | None:
    """Return the nearest folder, from `start` upwards, that holds ``avi.yaml``."""
    for folder in (start, *start.parents):
        if (folder / MANIFEST_NAME).is_file():
            return folder
    return None


_current: Context | None = None


def read(environ: Mapping[str, str], cwd: Path) -> Context:
    """Build a context from variables and a working folder; pure but for looking for ``avi.yaml``.

    Raises
    ------
    InvalidInput
        If ``GAVIP_MODE`` is no mode.
    """
    try:
        mode = Mode(environ.get(env.MODE) or Mode.STANDALONE)
    except ValueError:
        raise InvalidInput(f"{env.MODE}={environ[env.MODE]!r} is not a mode.") from None
    given = environ.get(env.RELEASE_DIR)
    return Context(mode, Path(given) if given else find_release(cwd), dict(environ))


def context() -> Context:
    """Return the context of this process, read once."""
    global _current
    if _current is None:
        _current = read(os.environ, Path.cwd())
    return _current


def reset() -> None:
    """Forget the context; the next call reads it anew (a process that changes its own surroundings, tests)."""
    global _current
    _current = None
