"""Custom scopes of the platform, one dictionary that the hub, the services, the docs and the tests read.

A scope guards what a *caller* may ask for; whose things it may touch is decided by the service from the token's owner.
"""

from __future__ import annotations

PORTAL_ACCESS = "custom:portal:access"
PORTAL_INSTANCE = "custom:portal:instance"
PORTAL_OPERATE = "custom:portal:operate"
JOBQUEUE_ACT_FOR = "custom:jobqueue:act-for"
JOBQUEUE_OPERATE = "custom:jobqueue:operate"
JOBQUEUE_RESERVE = "custom:jobqueue:reserve"
HUB_TECHNICAL_USERS = "custom:hub:technical-users"

CUSTOM_SCOPES: dict[str, dict[str, str]] = {
    PORTAL_ACCESS: {"description": "Use the portal as oneself: catalogue, AVIs, jobs and files."},
    PORTAL_INSTANCE: {
        "description": "Held by an AVI instance: submit and read jobs of this AVI for its user, and read the profile."
    },
    PORTAL_OPERATE: {"description": "See and steer everybody's instances and jobs."},
    JOBQUEUE_ACT_FOR: {
        "description": "Held by the portal: submit, read and cancel jobs on behalf of a user."
    },
    JOBQUEUE_OPERATE: {
        "description": "Held by the portal: change pools and the scheduler on behalf of an operator."
    },
    JOBQUEUE_RESERVE: {
        "description": "Held by the spawners: reserve and release resources in the ledger."
    },
    HUB_TECHNICAL_USERS: {
        "description": "Held by the portal: make the technical users that AVI instances run under."
    },
}
