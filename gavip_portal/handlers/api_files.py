"""``files``: the user-space, listed, downloaded and cleaned up."""

from __future__ import annotations

import re
from email.utils import format_datetime
from typing import Literal
from urllib.parse import quote

from pydantic import Field
from tornado.iostream import StreamClosedError

from gavip_api.models import Deletion, FolderListing, Model, UserSpaceUsage
from gavip_portal.services.userspace import OpenFile, raster_type
from gavip_web.openapi import operation

from .base import PortalApiHandler

FILE_POLICY = "sandbox; default-src 'none'; frame-ancestors 'none'"

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z")


class FolderQuery(Model):
    """Which folder to list."""

    path: str = Field(default="", max_length=4096, description="relative to the user-space")


class DeletionQuery(Model):
    """What to delete."""

    path: str = Field(min_length=1, max_length=4096, description="relative to the user-space")


class ContentQuery(Model):
    """Which file to download."""

    path: str = Field(min_length=1, max_length=4096, description="relative to the user-space")
    inline: Literal["0", "1"] = Field(
        default="0", description="`1` shows a PNG or JPEG image instead of downloading it"
    )


class FilesHandler(PortalApiHandler):
    """Folders."""

    @operation(
        "List a folder",
        query=FolderQuery,
        response=FolderListing,
        errors=(400, 404),
        tags=("files",),
    )
    async def get(self) -> None:
        """Return the entries of a folder of the caller's user-space; symbolic links are not followed."""
        person = self.person
        self.reply(await self.services.userspaces.list(person.name, self.query(FolderQuery).path))

    @operation(
        "Delete a file or folder",
        query=DeletionQuery,
        response=Deletion,
        errors=(400, 409),
        tags=("files",),
    )
    async def delete(self) -> None:
        """Delete a file, a link, or a folder with everything in it, for good; one that is gone is no error.

        What the platform made stays: `avis` and the folders of AVIs in it. A large folder takes several
        calls: ask again until `done`.
        """
        person = self.person
        path = self.query(DeletionQuery).path
        self.reply(await self.services.userspaces.delete(person.name, path))


class UsageHandler(PortalApiHandler):
    """How full the user-space is."""

    @operation("Show how much is used", response=UserSpaceUsage, tags=("files",))
    async def get(self) -> None:
        """Return used and allowed bytes and entries of the caller's user-space."""
        self.reply(await self.services.userspaces.usage(self.person.name))


class ContentHandler(PortalApiHandler):
    """Files."""

    def content_security_policy(self) -> str:
        """Return a policy under which a user's file can do nothing, whatever it is opened as."""
        return FILE_POLICY

    @operation(
        "Download a file",
        query=ContentQuery,
        media="application/octet-stream",
        errors=(400, 404, 416),
        tags=("files",),
    )
    async def get(self) -> None:
        """Return a file; understands ``Range`` with one range and ``If-None-Match``."""
        person = self.person
        query = self.query(ContentQuery)
        file = await self.services.userspaces.open(person.name, query.path)
        try:
            await self._send(file, inline=query.inline == "1")
        except StreamClosedError:
            return  # the reader has gone
        finally:
            file.close()

    async def _send(self, file: OpenFile, *, inline: bool) -> None:
        media = raster_type(file) if inline else "application/octet-stream"
        self.set_header("Content-Type", media)
        self.set_header("Content-Disposition", disposition(file.name, inline=inline))
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("ETag", file.etag)
        self.set_header("Last-Modified", format_datetime(file.modified, usegmt=True))
        self.set_header("Cache-Control", "private, no-cache")
        if self.request.headers.get("If-None-Match") == file.etag:
            self.set_status(304)
            self.clear_header("Content-Type")
            return
        start, stop = 0, file.size
        asked = self.request.headers.get("Range")
        # a range of another version of the file would be glued to this one (RFC 9110, section 13.1.5)
        if asked and self.request.headers.get("If-Range", file.etag) == file.etag:
            part = parse_range(asked, file.size)
            if part == "unsatisfiable":
                self.set_status(416)
                self.set_header("Content-Range", f"bytes */{file.size}")
                return
            if part is not None:
                start, stop = part
                self.set_status(206)
                self.set_header("Content-Range", f"bytes {start}-{stop - 1}/{file.size}")
        self.set_header("Content-Length", str(stop - start))
        async for chunk in file.read(start, stop):
            self.write(chunk)
            await self.flush()


def parse_range(header: str, size: int) -> tuple[int, int] | Literal["unsatisfiable"] | None:
    """Read a ``Range`` header with a single range (RFC 9110, section 14.1.2).

    Parameters
    ----------
    header : str
        Its value.
    size : int
        Size of the file, bytes.

    Returns
    -------
    tuple of int, "unsatisfiable" or None
        First byte and the one after the last; None when the header is to be ignored.
    """
    match = _RANGE.match(header.strip())
    if not match or match[1] == match[2] == "":
        return None
    if match[1] == "":
        length = int(match[2])
        return (max(0, size - length), size) if length and size else "unsatisfiable"
    first = int(match[1])
    last = int(match[2]) if match[2] else size - 1
    if match[2] and last < first:
        return None
    return (first, min(last + 1, size)) if first < size else "unsatisfiable"


def disposition(name: str, *, inline: bool) -> str:
    """Return a ``Content-Disposition`` that keeps any name and cannot be broken out of (RFC 6266, section 5)."""
    plain = re.sub(r'[^\x20-\x7e]|["\\%]', "_", name)
    kind = "inline" if inline else "attachment"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
