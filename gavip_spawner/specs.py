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
from gavip_api.enums import Mode, Template
from gavip_api.manifest import NOTHING_GRANTED, Permissions
from gavip_api.models import InstanceOptions, ResourceAmount, UserProfile

from . import placement as inside
from .layout import StateLayout, split_ref
from .placement import Mount, OnHost, Owned, Placement
from .volumes import LOST_AND_FOUND

LABEL_KIND = "gavip.kind"
LABEL_JOB = "gavip.job"
LABEL_ATTEMPT = "gavip.attempt"
LABEL_OWNER = "gavip.owner"
LABEL_AVI = "gavip.avi"
LABEL_SERVER = "gavip.server"
"""The hub's name of a server, ``user/server``."""

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
    mounts : tuple of Mount
        What it sees of the host; the process back-end documents them, the container back-ends enforce them.
    owned : tuple of Owned
        What must exist before, from the top down.
    image : str
        Which template or program: ``python``, ``java``, ``fortran`` or ``lab``; the container back-ends
        know an image for each.
    permissions : Permissions
        What the user granted: whether it may query the archive, and which hosts it may reach.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: str
    amount: ResourceAmount
    time_limit: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    owned: tuple[Owned, ...] = ()
    image: str = ""
    permissions: Permissions = NOTHING_GRANTED


def base_environment(
    platform: Mapping[str, str] | None = None, placement: Placement | None = None
) -> dict[str, str]:
    """Return the part of the platform's environment that user code may see, with quiet settings."""
    source = os.environ if platform is None else platform
    return (placement or OnHost()).environment(source) | QUIET


def _userspace(layout: StateLayout, user: str) -> tuple[Owned, ...]:
    return (
        Owned(str(layout.userspaces), user=False, mode=0o755),
        # sticky: users write here, but what the platform made here they can neither rename nor replace
        Owned(str(layout.userspace(user)), user=False, mode=0o1777),
        Owned(str(layout.userspace(user) / "avis"), user=False, mode=0o755),
    )


def _own_folder(
    layout: StateLayout, user: str, avi: str, permissions: Permissions, placement: Placement
) -> tuple[str, tuple[Mount, ...], tuple[Owned, ...]]:
    """Return where an AVI finds its own folder, with the mounts and folders that takes."""
    owner, name = split_ref(avi)
    source = layout.avi_folder(user, avi)
    target = placement.of(source, f"{inside.USER_SPACE}/avis/{owner}.{name}")
    mounts: tuple[Mount, ...] = (Mount(str(source), target, read_only=False),)
    if permissions.userspace == "read":
        whole = layout.userspace(user)
        mounts = (Mount(str(whole), placement.of(whole, inside.USER_SPACE)), *mounts)
    return target, mounts, (*_userspace(layout, user), Owned(str(source), user=True, mode=0o755))


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
    template: Template = Template.PYTHON,
    permissions: Permissions = NOTHING_GRANTED,
    placement: Placement | None = None,
    platform: Mapping[str, str] | None = None,
) -> LaunchSpec:
    """Return the spec of one attempt of a job (mode `pipeline`: no web, no hub token)."""
    placement = placement or OnHost()
    release_dir = placement.of(layout.release(release), inside.RELEASE)
    own_folder, mounts, owned = _own_folder(layout, owner.name, avi, permissions, placement)
    relative = output_dir.relative_to(layout.avi_folder(owner.name, avi)).as_posix()
    name = f"job-{job_id}.{attempt}"
    # HOME is scratch: what libraries drop there is no part of the data product
    scratch = placement.of(layout.plane / name / "scratch", inside.HOME)
    parameters = placement.of(parameters_file, inside.PARAMETERS)
    environment = (
        base_environment(platform, placement)
        | _threads(amount)
        | _home(scratch)
        | {
            "MPLBACKEND": "agg",
            env.MODE: Mode.PIPELINE.value,
            env.AVI: avi,
            env.RELEASE: release,
            env.RELEASE_DIR: release_dir,
            env.USER_SPACE: own_folder,
            env.OUTPUT_DIR: f"{own_folder}/{relative}",
            env.PARAMETERS_FILE: parameters,
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
        argv=(placement.python, "-m", "avi.runner"),
        environment=environment,
        # the runner makes the output folder: here nothing below a folder of the user's is made for them
        cwd=own_folder,
        amount=amount,
        time_limit=time_limit,
        labels={
            LABEL_KIND: "job",
            LABEL_JOB: job_id,
            LABEL_ATTEMPT: str(attempt),
            LABEL_OWNER: owner.name,
            LABEL_AVI: avi,
        },
        mounts=(
            Mount(str(layout.release(release)), release_dir),
            Mount(str(parameters_file), parameters),
            *mounts,
        ),
        owned=(*owned, *_scratch(scratch, placement), _handed_over(parameters_file)),
        image=template.value,
        permissions=permissions,
    )


def _home(scratch: str) -> dict[str, str]:
    return {
        "HOME": scratch,
        "IPYTHONDIR": f"{scratch}/ipython",
        "MPLCONFIGDIR": f"{scratch}/matplotlib",
    }


def _scratch(scratch: str, placement: Placement) -> tuple[Owned, ...]:
    # a tmpfs in a container
    return () if placement.contained else (Owned(scratch, user=True, mode=0o700),)


def _handed_over(file: Path) -> Owned:
    return Owned(str(file), user=True, mode=0o400, file=True)


def interface_spec(
    layout: StateLayout,
    *,
    name: str,
    options: InstanceOptions,
    hub_environment: Mapping[str, str],
    archive_url: str,
    api_url: str,
    frame_ancestors: str,
    server: str = "",
    placement: Placement | None = None,
    platform: Mapping[str, str] | None = None,
) -> LaunchSpec:
    """Return the spec of an AVI instance (mode `interface`: Voilà for one user).

    `hub_environment` is what the hub gives a single-user server: its OAuth client and its scope-limited token;
    `server` is the hub's name of it, ``user/server``.
    """
    placement = placement or OnHost()
    release_dir = placement.of(layout.release(options.release), inside.RELEASE)
    own_folder, mounts, owned = _own_folder(
        layout, options.owner.name, options.avi, options.permissions, placement
    )
    scratch = placement.of(layout.plane / name / "scratch", inside.HOME)
    environment = (
        base_environment(platform, placement)
        | _threads(options.resources)
        | dict(hub_environment)
        | _home(scratch)
        | {
            env.MODE: Mode.INTERFACE.value,
            env.AVI: options.avi,
            env.RELEASE: options.release,
            env.RELEASE_DIR: release_dir,
            env.USER_SPACE: own_folder,
            env.ARCHIVE_URL: archive_url,
            env.API_URL: api_url,
            env.USER: options.owner.model_dump_json(),
            env.VIEW: options.notebook,
            "GAVIP_FRAME_ANCESTORS": frame_ancestors,
        }
    )
    return LaunchSpec(
        name=name,
        argv=(placement.python, "-m", "avi_kernelspec.server"),
        environment=environment,
        cwd=own_folder,
        amount=options.resources,
        labels={
            LABEL_KIND: "interface",
            LABEL_OWNER: options.owner.name,
            LABEL_AVI: options.avi,
            LABEL_SERVER: server,
        },
        mounts=(Mount(str(layout.release(options.release)), release_dir), *mounts),
        owned=(*owned, *_scratch(scratch, placement)),
        image=options.template.value,
        permissions=options.permissions,
    )


_LAB_SCRATCH = {
    "JUPYTER_RUNTIME_DIR": f"{inside.SCRATCH}/jupyter-runtime",
    "IPYTHONDIR": f"{inside.SCRATCH}/ipython",
}
"""What a Lab writes before it serves, and a kernel before it runs: never on a disk that its user may have filled."""

_LAB_ARGUMENTS = (
    # what is deleted has to make room
    "--FileContentsManager.delete_to_trash=False",
    # beside Jupyter's own, what the disk has in its root
    *(
        f"--ContentsManager.hide_globs={glob}"
        for glob in ("__pycache__", "*.pyc", "*.pyo", ".DS_Store", "*~", LOST_AND_FOUND)
    ),
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
    api_url: str,
    server: str = "",
    placement: Placement | None = None,
    platform: Mapping[str, str] | None = None,
) -> LaunchSpec:
    """Return the spec of a user's own JupyterLab: all of the user-space, HOME elsewhere.

    In a container it starts although both are full, so that its user can clean up. Archive queries of its
    notebooks are counted in the ledger: with `api_url` and the server's token they take turns like an application's.
    """
    placement = placement or OnHost()
    userspace = placement.of(layout.userspace(user), inside.USER_SPACE)
    home = placement.of(layout.home(user), inside.HOME)
    environment = (
        base_environment(platform, placement)
        | _threads(amount)
        | dict(hub_environment)
        | {
            "HOME": home,
            "IPYTHONDIR": f"{home}/.ipython",
            env.USER_SPACE: userspace,
            env.ARCHIVE_URL: archive_url,
            env.API_URL: api_url,
        }
        | (_LAB_SCRATCH if placement.contained else {})
    )
    return LaunchSpec(
        name=name,
        argv=(*argv, *_LAB_ARGUMENTS) if placement.contained else argv,
        environment=environment,
        cwd=userspace,
        amount=amount,
        labels={LABEL_KIND: "notebook", LABEL_OWNER: user, LABEL_SERVER: server},
        mounts=(
            Mount(str(layout.userspace(user)), userspace, read_only=False),
            Mount(str(layout.home(user)), home, read_only=False),
        ),
        owned=(
            *_userspace(layout, user),
            Owned(str(layout.home(user).parent), user=False, mode=0o755),
            Owned(str(layout.home(user)), user=True, mode=0o700),
        ),
        image="lab",
        # people's own notebooks may query the archive; what else they reach is the operator's decision
        permissions=Permissions(archive=True),
    )
