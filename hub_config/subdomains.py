"""Host names of the platform: every server its own origin.

Invariant: no user name maps to a service's host. Services own ``<name>.<domain>``; a user whose
label would collide with a reserved name gets a suffix instead (the authenticators refuse such names
already; this is the second lock).
"""

from __future__ import annotations

from jupyterhub.utils import subdomain_hook_idna

from gavip_api.slugs import RESERVED_USERS, check_slug, is_technical


def subdomain_hook(name: str, domain: str, kind: str) -> str:
    """Return the host name of a user or service (``JupyterHub.subdomain_hook``).

    Parameters
    ----------
    name : str
        Hub user or service name.
    domain : str
        Domain of the hub.
    kind : str
        ``"user"`` or ``"service"``.
    """
    if kind == "service":
        label = check_slug(name, "service name")
        if label not in RESERVED_USERS:
            raise ValueError(
                f"service name {name!r} must be added to gavip_api.slugs.RESERVED_USERS"
            )
        return f"{label}.{domain}"
    host = subdomain_hook_idna(name, domain, kind)
    label = host[: -len(domain) - 1]
    # host names know no capitals
    taken = label.lower() in RESERVED_USERS or (
        is_technical(label.lower()) and not is_technical(name)
    )
    return f"{label}--user.{domain}" if taken else host
