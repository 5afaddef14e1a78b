"""Sign-in through the hub, on Voilà's own server.

``jupyterhub-singleuser`` would start a whole Jupyter server and load Voilà as an extension, whose kernel socket accepts
``execute_request``; so JupyterHub's identity provider is used on native Voilà instead.
"""

from __future__ import annotations

from typing import Any

from jupyter_server.utils import url_path_join
from jupyterhub.singleuser.extension import JupyterHubAuthorizer, JupyterHubIdentityProvider

__all__ = ["AviIdentityProvider", "JupyterHubAuthorizer"]


class AviIdentityProvider(JupyterHubIdentityProvider):
    """JupyterHub's identity provider, with its handlers below the base URL.

    A Jupyter server prefixes the handlers of its identity provider, native Voilà (0.5) does not: without this the OAuth
    callback would answer 404.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.pop(
            "token", None
        )  # Voilà passes its own option; here the token is the hub's and no trait
        super().__init__(**kwargs)

    def get_handlers(self) -> list[tuple[Any, ...]]:
        """Return the callback and sign-out handlers below the base URL."""
        base = self.parent.base_url
        return [(url_path_join(base, path), *rest) for path, *rest in super().get_handlers()]
