"""Who may do what: the hub's roles and the scopes of servers, from the five roles of people and the platform's parts.

Invariants: the technical users of instances hold no more than any user, and their servers' tokens
far less; only the portal may touch technical users; only jobqueue and the portal hold scopes over
other people's things.
"""

from __future__ import annotations

from typing import Any

from gavip_api import scopes
from gavip_api.enums import Role
from gavip_api.scopes import CUSTOM_SCOPES
from gavip_api.slugs import is_technical

__all__ = ["CUSTOM_SCOPES", "InstanceClients", "load_roles", "server_token_scopes"]

PERSON_SCOPES = [
    "self",
    "access:services!service=portal",
    scopes.PORTAL_ACCESS,
    scopes.PORTAL_INSTANCE,
]
"""What every user holds. ``custom:portal:instance`` is here because a server's token can only narrow
its user's scopes; the portal honours it for technical users alone."""

LAB_TOKEN_SCOPES = [
    "users:activity!user",
    "access:servers!server",
    "read:users:name!user",
    scopes.PORTAL_ACCESS,
]
"""Scopes of the token inside a person's own JupyterLab: their portal, nothing of the hub's administration."""

INSTANCE_TOKEN_SCOPES = [
    "users:activity!user",
    "access:servers!server",
    "read:users:name!user",
    scopes.PORTAL_INSTANCE,
]
"""Scopes of the token inside an AVI instance, which untrusted code can read."""


def server_token_scopes(spawner: Any) -> list[str]:
    """Return the scopes of ``JUPYTERHUB_API_TOKEN`` in a server (``Spawner.server_token_scopes``)."""
    return INSTANCE_TOKEN_SCOPES if is_technical(spawner.user.name) else LAB_TOKEN_SCOPES


def load_roles() -> list[dict[str, Any]]:
    """Return the hub's ``load_roles``."""
    return [
        {
            "name": "user",
            "description": "Every signed-in user: own server, own things in the portal",
            "scopes": PERSON_SCOPES,
        },
        {
            "name": "gavip-operator",
            "description": "Sees and steers everything",
            "scopes": [
                "admin-ui",
                "admin:users",
                "admin:servers",
                "admin:groups",
                "list:services",
                "read:services",
                "read:hub",
                "proxy",
                scopes.PORTAL_OPERATE,
            ],
            "groups": [Role.OPERATOR.value],
        },
        {
            "name": "gavip-portal",
            "description": "The portal: runs instances under technical users and shares them with their owners",
            "scopes": [
                "admin:users",
                "admin:servers",
                "access:servers",
                "shares",
                "read:hub",
                scopes.JOBQUEUE_ACT_FOR,
                scopes.JOBQUEUE_OPERATE,
                scopes.HUB_TECHNICAL_USERS,
            ],
            "services": ["portal"],
        },
        {
            "name": "gavip-jobqueue",
            "description": "The job queue: sees which servers run, to keep the ledger true",
            "scopes": ["list:users", "read:users:name", "read:servers"],
            "services": ["jobqueue"],
        },
        {
            "name": "gavip-spawner",
            "description": "The hub's spawners: reserve in the ledger; tell the portal of sign-outs",
            "scopes": [
                scopes.JOBQUEUE_RESERVE,
                scopes.PORTAL_OPERATE,
                "access:services!service=portal",
            ],
            "services": ["spawner"],
        },
        {
            "name": "gavip-idle-culler",
            "description": "Stops idle servers",
            "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
            "services": ["idle-culler"],
        },
    ]


class InstanceClients(set[str]):
    """OAuth clients that need no consent page: our services, and every instance of an AVI.

    The hub asks only ``client in list``; instances come and go, so membership is computed. An
    instance's server can be entered by nobody but the user whom the portal shared it with, who asked
    for it by pressing Open.
    """

    def __contains__(self, client: object) -> bool:
        """Whether `client` is one of ours."""
        return super().__contains__(client) or (
            isinstance(client, str) and client.startswith("jupyterhub-user-avi-")
        )
