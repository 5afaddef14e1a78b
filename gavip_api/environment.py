"""Names of the environment variables that tell AVI code where it runs: the contract of execution plane and ``avi``.

Invariant: only tokens limited to one instance or one job are ever placed here.
"""

from __future__ import annotations

MODE = "GAVIP_MODE"
"""``interface`` or ``pipeline``; absent means ``standalone``."""

AVI = "GAVIP_AVI"
"""``owner/name`` of the AVI."""

RELEASE = "GAVIP_RELEASE"
"""Git SHA of the release."""

RELEASE_DIR = "GAVIP_RELEASE_DIR"
"""Absolute path of the read-only export of the release; holds ``avi.yaml``."""

USER_SPACE = "GAVIP_USER_SPACE"
"""Absolute path of the AVI's own folder in the user's user-space (read-write)."""

OUTPUT_DIR = "GAVIP_OUTPUT_DIR"
"""Pipeline mode: absolute path where the job writes its data product."""

PARAMETERS_FILE = "GAVIP_PARAMETERS_FILE"
"""Pipeline mode: JSON file with the checked parameters."""

PIPELINE = "GAVIP_PIPELINE"
"""Pipeline mode: name of the pipeline in ``avi.yaml``."""

ARCHIVE_URL = "GAVIP_ARCHIVE_URL"
"""Base URL of the TAP service."""

ARCHIVE_QUERIES = "GAVIP_ARCHIVE_QUERIES"
"""Pipeline mode: how many queries of the archive the job may have running at once, as the ledger granted."""

API_URL = "GAVIP_API_URL"
"""Base URL of the portal's ``/api/v1`` as seen from the code; set in interface mode and in JupyterLab."""

API_TOKEN = "JUPYTERHUB_API_TOKEN"  # noqa: S105 - the name of a variable, not a secret
"""Interface mode and JupyterLab: the server's own hub token, limited by scope."""

USER = "GAVIP_USER"
"""JSON of :class:`gavip_api.models.UserProfile`: for whom the code runs."""

JOB_ID = "GAVIP_JOB_ID"
"""Pipeline mode: id of the job."""

JOB_ATTEMPT = "GAVIP_JOB_ATTEMPT"
"""Pipeline mode: number of the attempt, from 1; reports of older attempts are refused (fencing)."""

JOB_URL = "GAVIP_JOB_URL"
"""Pipeline mode: URL below which the runner reports (``…/runs/{job id}``)."""

JOB_TOKEN = "GAVIP_JOB_TOKEN"  # noqa: S105 - the name of a variable, not a secret
"""Pipeline mode: the one-job token."""

VIEW = "GAVIP_VIEW"
"""Interface mode: path of the notebook that is served, relative to the release."""
