"""What the portal's handlers share: its services, and for whom a request acts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gavip_api.enums import Role
from gavip_api.errors import Forbidden, NotFound
from gavip_api.models import UserProfile
from gavip_api.scopes import PORTAL_ACCESS, PORTAL_INSTANCE
from gavip_portal.services.catalogue import Catalogue
from gavip_portal.services.granting import Granting
from gavip_portal.services.instances import Instances, owner_of
from gavip_portal.services.jobs import Jobs, Principal
from gavip_portal.services.operators import Operators
from gavip_portal.services.schedules import Schedules
from gavip_portal.services.userspace import UserSpaces
from gavip_web.auth import Caller
from gavip_web.handlers import ApiHandler, ServiceHandler

_ROLES = {role.value for role in Role}


@dataclass(frozen=True)
class Services:
    """The portal's services, made by ``app.py`` and found by handlers in the settings."""

    catalogue: Catalogue
    instances: Instances
    jobs: Jobs
    operators: Operators
    schedules: Schedules
    granting: Granting
    userspaces: UserSpaces
    static_root: Path


def profile_of(caller: Caller) -> UserProfile:
    """Return a person's profile from the hub's groups; each role is a group of its name."""
    roles = sorted(_ROLES & caller.groups)
    return UserProfile(name=caller.name, roles=tuple(Role(r) for r in roles))


def check_person(caller: Caller) -> UserProfile:
    """Return the profile of a person who may use the portal as themselves.

    Raises
    ------
    Forbidden
        If the caller is an AVI instance, a service, or holds no such scope.
    """
    if caller.is_technical or caller.kind != "user":
        raise Forbidden("Only people may do this.", hint="An AVI reaches its own jobs only.")
    # a session of the portal's own origin was given by the hub to somebody who may access this service
    if not (
        caller.has_scope(PORTAL_ACCESS)
        or (caller.via == "cookie" and caller.has_scope("access:services!service=portal"))
    ):
        raise Forbidden(
            "Your credentials do not allow this.", hint=f"Use a token with scope {PORTAL_ACCESS}."
        )
    return profile_of(caller)


class WithServices(ServiceHandler):
    """Gives handlers the services and the principal."""

    @property
    def services(self) -> Services:
        """The portal's services."""
        found: Services = self.settings["services"]
        return found

    @property
    def person(self) -> UserProfile:
        """The person who asks; AVI instances are refused."""
        return check_person(self.signed_in)

    def check_operator(self) -> UserProfile:
        """Return the person who operates the platform; services and instances are refused, whatever their scopes."""
        return self.person

    async def principal(self) -> Principal:
        """Return for whom the request acts: the person, or the owner of the instance that asks.

        Raises
        ------
        Forbidden
            If the caller is neither.
        """
        caller = self.signed_in
        if not caller.is_technical:
            return Principal(check_person(caller))
        if caller.via != "token" or not caller.has_scope(PORTAL_INSTANCE):
            raise Forbidden("This token does not belong to an AVI instance.")
        try:
            row = await self.services.instances.of_technical_user(caller.name)
        except NotFound as e:
            raise Forbidden(e.message, hint=e.hint) from None
        return Principal(owner_of(row), row.avi, row.release)


class PortalApiHandler(WithServices, ApiHandler):
    """Base of the portal's JSON resources."""
