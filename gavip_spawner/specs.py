"""Launch specs: what to run, as pure data.

Builders take facts and return a :class:`LaunchSpec`; they touch no disk, no network, no engine, so
that whole specs can be compared in tests. Invariant: a spec's environment holds nothing of the
platform's own environment but what is listed here, and no token that reaches further than one
instance or one job.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gavip_api import environment as env
from gavip_api.enums import Mode
from gavip_api.models import InstanceOptions, ResourceAmount, UserProfile

from .layout import StateLayout

LABEL_KIND = "gavip.kind"
LABEL_JOB = "gavip.job"
LABEL_ATTEMPT = "gavip.attempt"
LABEL_OWNER = "gavip.owner"
LABEL_AVI = "gavip.avi"

_PASSED_ON = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "JUPYTER_PATH",
    "JUPYTER_CONFIG_PATH",
)
"""What a process inherits from the platform's own environment: where programs, certificates and templates are."""

QUIET = {
    "PLOOMBER_STATS_ENABLED": "false",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    "IPYTHONDIR": "/nonexistent",
}
"""Nothing we start reports home, looks for updates, or writes beside its code."""


@dataclass(frozen=True)
class LaunchSpec:
    """One thing to run.

    Parameters
    ----------
    name : str
        Unique for ever.
    argv : tuple of str
        Never passed through a shell.
    environment : mapping of str to str
        The whole environment.
    cwd : str
        Working folder; made if missing.
    amount : ResourceAmount
        Memory in bytes and processor cores it may use.
    time_limit : int, optional
        Seconds of wall clock.
    labels : mapping of str to str
        To find it again.
    read_only, read_write : tuple of str
        Folders it may see; the process back-end documents them, the container back-ends enforce them.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: str
    amount: ResourceAmount
    time_limit: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    read_only: tuple[str, ...] = ()
    read_write: tuple[str, ...] = ()


def base_environment(platform: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the part of the platform's environment that user code may see, with quiet settings."""
    source = os.environ if platform is None else platform
    return {k: source[k] for k in _PASSED_ON if k in source} | QUIET


def _threads(amount: ResourceAmount) -> dict[str, str]:
    # numerical libraries start one thread per core of the machine, not per core granted
    n = str(max(1, round(amount.cpu)))
    return dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_MAX_THREADS"), n
    )


def pipeline_spec(
    layout: StateLayout,
    *,
    job_id: str,
    attempt: int,
    owner: UserProfile,
    avi: str,
    release: str,
    pipeline: str,
    amount: ResourceAmount,
    time_limit: int,
    output_dir: Path,
    parameters_file: Path,
    archive_url: str,
    job_url: str,
    job_token: str,
    python: str,
    platform: Mapping[str, str] | None = None,
) -> LaunchSpec:
    """Return the spec of one attempt of a job (mode `pipeline`: no web, no hub token)."""
    release_dir = layout.release(release)
    own_folder = layout.avi_folder(owner.name, avi)
    name = f"job-{job_id}.{attempt}"
    # HOME is scratch: what libraries drop there is no part of the data product
    scratch = layout.plane / name / "scratch"
    environment = (
        base_environment(platform)
        | _threads(amount)
        | {
            "HOME": str(scratch),
            "IPYTHONDIR": str(scratch / "ipython"),
            "MPLCONFIGDIR": str(scratch / "matplotlib"),
            "MPLBACKEND": "agg",
            env.MODE: Mode.PIPELINE.value,
            env.AVI: avi,
            env.RELEASE: release,
            env.RELEASE_DIR: str(release_dir),
            env.USER_SPACE: str(own_folder),
            env.OUTPUT_DIR: str(output_dir),
            env.PARAMETERS_FILE: str(parameters_file),
            env.PIPELINE: pipeline,
            env.ARCHIVE_URL: archive_url,
            env.USER: owner.model_dump_json(),
            env.JOB_ID: job_id,
            env.JOB_ATTEMPT: str(attempt),
            env.JOB_URL: job_url,
            env.JOB_TOKEN: job_token,
        }
    )
    return LaunchSpec(
        name=name,
        argv=(python, "-m", "avi.runner"),
        environment=environment,
        cwd=str(output_dir),
        amount=amount,
        time_limit=time_limit,
        labels={
            LABEL_KIND: "job",
            LABEL_JOB: job_id,
            LABEL_ATTEMPT: str(attempt),
            LABEL_OWNER: owner.name,
            LABEL_AVI: avi,
        },
        read_only=(str(release_dir), str(parameters_file)),
        read_write=(str(output_dir), str(scratch)),
    )


def interface_spec(
    layout: StateLayout,
    *,
    name: str,
    options: InstanceOptions,
    hub_environment: Mapping[str, str],
    archive_url: str,
    api_url: str,
    frame_ancestors: str,
    python: str,
    platform: Mapping[str, str] | None = None,
) -> LaunchSpec:
    """Return the spec of an AVI instance (mode `interface`: Voilà for one user).

    `hub_environment` is what the hub gives a single-user server: its OAuth client and its scope-limited token.
    """
    release_dir = layout.release(options.release)
    own_folder = layout.avi_folder(options.owner.name, options.avi)
    scratch = layout.plane / name / "scratch"
    environment = (
        base_environment(platform)
        | _threads(options.resources)
        | dict(hub_environment)
        | {
            "HOME": str(scratch),
            "IPYTHONDIR": str(scratch / "ipython"),
            "MPLCONFIGDIR": str(scratch / "matplotlib"),
            env.MODE: Mode.INTERFACE.value,
            env.AVI: options.avi,
            env.RELEASE: options.release,
            env.RELEASE_DIR: str(release_dir),
            env.USER_SPACE: str(own_folder),
            env.ARCHIVE_URL: archive_url,
            env.API_URL: api_url,
            env.USER: options.owner.model_dump_json(),
            env.VIEW: options.notebook,
            "GAVIP_FRAME_ANCESTORS": frame_ancestors,
        }
    )
    return LaunchSpec(
        name=name,
        argv=(python, "-m", "avi_kernelspec.server"),
        environment=environment,
        cwd=str(own_folder),
        amount=options.resources,
        labels={LABEL_KIND: "interface", LABEL_OWNER: options.owner.name, LABEL_AVI: options.avi},
        read_only=(str(release_dir),),
        read_write=(str(own_folder), str(scratch)),
    )


def notebook_spec(
    layout: StateLayout,
    *,
    name: str,
    user: str,
    amount: ResourceAmount,
    argv: tuple[str, ...],
    hub_environment: Mapping[str, str],
    archive_url: str,
    platform: Mapping[str, str] | None = None,
) -> LaunchSpec:
    """Return the spec of a user's own JupyterLab: all of the user-space, HOME elsewhere."""
    userspace, home = layout.userspace(user), layout.home(user)
    environment = (
        base_environment(platform)
        | _threads(amount)
        | dict(hub_environment)
        | {
            "HOME": str(home),
            "IPYTHONDIR": str(home / ".ipython"),
            env.USER_SPACE: str(userspace),
            env.ARCHIVE_URL: archive_url,
        }
    )
    return LaunchSpec(
        name=name,
        argv=argv,
        environment=environment,
        cwd=str(userspace),
        amount=amount,
        labels={LABEL_KIND: "notebook", LABEL_OWNER: user},
        read_write=(str(userspace), str(home)),
    )
