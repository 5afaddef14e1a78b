"""The portal's own files and the hub's: immutable, compressed, for everybody, nothing else."""

from __future__ import annotations

import asyncio
import functools
import gzip
import os
from pathlib import Path

from tornado.web import StaticFileHandler

from gavip_web.handlers import ServiceHandler

_YEAR = 365 * 24 * 3600
_COMPRESSIBLE = frozenset({".css", ".js", ".json", ".svg"})


class AssetHandler(ServiceHandler, StaticFileHandler):
    """Files whose URL changes with their content: by a hash in the name, or the hub's version in the query."""

    authenticated = False

    def initialize(self, path: str) -> None:  # type: ignore[override]
        """Take the folder."""
        ServiceHandler.initialize(self)
        StaticFileHandler.initialize(self, path)

    async def get(self, path: str, include_body: bool = True) -> None:
        """Answer with the file, compressed when it is text and the browser takes it."""
        takes_gzip = "gzip" in self.request.headers.get("Accept-Encoding", "")
        if not (takes_gzip and include_body and Path(path).suffix in _COMPRESSIBLE):
            await super().get(path, include_body)
            return
        self.path = self.parse_url_path(path)
        # tornado's own check that the path stays in the folder and is a file
        self.absolute_path = self.validate_absolute_path(
            self.root, self.get_absolute_path(self.root, self.path)
        )
        if self.absolute_path is None:
            return
        status = await asyncio.to_thread(os.stat, self.absolute_path)
        body = await asyncio.to_thread(_gzipped, self.absolute_path, status.st_mtime_ns)
        self.set_header("Content-Type", self.get_content_type())
        self.set_header("Content-Encoding", "gzip")
        self.set_header("Vary", "Accept-Encoding")
        self.set_extra_headers(self.path)
        self.finish(body)

    def get_cache_time(self, path: str, modified: object, mime_type: str) -> int:
        """Return a year."""
        return _YEAR

    def set_extra_headers(self, path: str) -> None:
        """Say that the file never changes."""
        self.set_header("Cache-Control", f"public, max-age={_YEAR}, immutable")


@functools.lru_cache(maxsize=64)
def _gzipped(path: str, modified: int) -> bytes:
    # `modified` is part of the key only; mtime=0 makes the same content the same bytes
    return gzip.compress(Path(path).read_bytes(), 9, mtime=0)
