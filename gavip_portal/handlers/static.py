"""The portal's own files and the hub's: immutable, for everybody, nothing else."""

from __future__ import annotations

from tornado.web import StaticFileHandler

from gavip_web.handlers import ServiceHandler

_YEAR = 365 * 24 * 3600


class AssetHandler(ServiceHandler, StaticFileHandler):
    """Files whose URL changes with their content: by a hash in the name, or the hub's version in the query."""

    authenticated = False

    def initialize(self, path: str) -> None:  # type: ignore[override]
        """Take the folder."""
        ServiceHandler.initialize(self)
        StaticFileHandler.initialize(self, path)

    def get_cache_time(self, path: str, modified: object, mime_type: str) -> int:
        """Return a year."""
        return _YEAR

    def set_extra_headers(self, path: str) -> None:
        """Say that the file never changes."""
        self.set_header("Cache-Control", f"public, max-age={_YEAR}, immutable")
