"""For whom the code runs.

Invariant: the answer is for showing and choosing views; what a user may do is decided by the services from the token.
"""

from __future__ import annotations

import getpass
import json
from typing import TYPE_CHECKING

from gavip_api import environment as env

from .errors import GavipError
from .surroundings import context

if TYPE_CHECKING:
    from gavip_api.models import UserProfile

_known: UserProfile | None = None


def user(refresh: bool = False) -> UserProfile:
    """Return the user for whom this code runs.

    Parameters
    ----------
    refresh : bool
        Ask the portal again instead of using what is known (roles can change while an interface is open).

    Returns
    -------
    UserProfile
        ``name`` and ``roles``; on an author's own machine the account's name and the role ``developer``.
    """
    global _known
    from gavip_api.enums import Role
    from gavip_api.models import UserProfile

    ctx = context()
    if _known is not None and not refresh:
        return _known
    given = ctx.environ.get(env.USER)
    profile = (
        UserProfile.model_validate(json.loads(given))
        if given
        else UserProfile(name=_account(), roles=(Role.DEVELOPER,))
    )
    if ctx.api is not None and (refresh or not given):
        from .portal import Portal

        try:
            profile = Portal.of(ctx).me()
        except GavipError:
            # the profile only chooses what is shown: an unreachable portal must not stop the notebook
            if refresh:
                raise
    _known = profile
    return profile


def _account() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's uid need not have an account
        return "me"
