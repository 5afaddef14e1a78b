"""What the handlers share: the archive's services, reading requests, answering errors.

Invariant: an error answer names cause and next step, never a traceback, a path or the library's own text.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

from gavip_api.errors import GavipError
from gavip_archive.fetch import UploadFetcher
from gavip_archive.formats.votable import error_document
from gavip_archive.limits import Limits
from gavip_archive.queries import QueryService
from gavip_archive.tableset import Tableset
from gavip_archive.uws.service import JobService

log = logging.getLogger("gavip.archive.web")

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Archive:
    """What a handler needs: made once by the application.

    Attributes
    ----------
    base : str
        Public URL of ``/tap``, without a slash at the end.
    others : tuple of str
        Further URLs of it, by which those reach it who name their host.
    scratch : Path
        Folder for the answers of synchronous queries.
    list_jobs : bool
        Whether GET /async lists everybody's jobs.
    """

    base: str
    limits: Limits
    tableset: Tableset
    queries: QueryService
    jobs: JobService
    fetcher: UploadFetcher
    scratch: Path
    list_jobs: bool
    others: tuple[str, ...] = ()

    def seen_by(self, host: str) -> Archive:
        """Return the archive as a client sees it that asks for `host` (RFC 9110, section 7.2).

        Only URLs that the operator named come into answers: a client cannot have links lead elsewhere.
        """
        base = next((url for url in self.others if urlsplit(url).netloc == host), self.base)
        return self if base == self.base else replace(self, base=base)


def without_preamble(body: bytes, content_type: str) -> bytes:
    """Drop what precedes the first boundary of a multipart body.

    RFC 2046, section 5.1.1, allows a preamble and STIL sends one (a line end); tornado takes it for a part
    without headers.
    """
    if not content_type.lower().startswith("multipart/"):
        return body
    # email.message would do, but it takes the angle brackets of STIL's boundary for quotes and strips them
    boundary = re.search(r'boundary=(?:"([^"]+)"|([^;\s]+))', content_type, re.IGNORECASE)
    mark = (boundary[1] or boundary[2]).encode("latin-1", "replace") if boundary else b""
    start = body.find(b"--" + mark) if mark else -1
    return body[start:] if start > 0 else body


class ArchiveHandler(RequestHandler):
    """Base of the handlers."""

    def initialize(self, archive: Archive) -> None:
        """Take the services, and make the body readable before tornado parses it."""
        self.archive = archive.seen_by(self.request.host)
        self.request.body = without_preamble(
            self.request.body, self.request.headers.get("Content-Type", "")
        )

    def set_default_headers(self) -> None:
        """Forbid sniffing: results hold strings of strangers."""
        self.set_header("X-Content-Type-Options", "nosniff")

    def pairs(self) -> list[tuple[str, str]]:
        """Return all parameters of the request, from the query string and the body."""
        found = []
        for arguments in (self.request.query_arguments, self.request.body_arguments):
            for name, values in arguments.items():
                found += [(name, value.decode("utf-8", "replace")) for value in values]
        return found

    def files(self) -> Mapping[str, bytes]:
        """Return the content that inline uploads can refer to, by parameter name.

        Some clients (STIL among them) send the table as a part without a file name, which counts as an argument.
        """
        parts = {name: values[0] for name, values in self.request.body_arguments.items() if values}
        return parts | {name: each[0].body for name, each in self.request.files.items() if each}

    def see_other(self, path: str) -> None:
        """Answer 303 to an address below /tap."""
        self.redirect(f"{self.archive.base}{path}", status=303)

    def answer(self, content: bytes, content_type: str) -> None:
        """Answer with a whole document."""
        self.set_header("Content-Type", content_type)
        self.finish(content)

    def answer_text(self, text: str) -> None:
        """Answer with plain text, as UWS wants for single values."""
        self.answer(text.encode(), "text/plain; charset=UTF-8")

    async def send_file(self, file: BinaryIO, content_type: str) -> None:
        """Answer with a file, block by block; a client that went away ends it quietly."""
        loop = asyncio.get_running_loop()
        self.set_header("Content-Type", content_type)
        size = await loop.run_in_executor(None, lambda: file.seek(0, 2))
        self.set_header("Content-Length", str(size))
        await loop.run_in_executor(None, lambda: file.seek(0))
        try:
            while block := await loop.run_in_executor(None, lambda: file.read(_BLOCK)):
                self.write(block)
                await self.flush()
            await self.finish()
        except StreamClosedError:
            log.debug("client went away uri=%s", self.request.path)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an error: a VOTable (DALI 1.1, section 4.2)."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, GavipError):
            self.set_status(error.status, error.title)
            message = f"{error.message} {error.hint}" if error.hint else error.message
            if error.status == 503:
                self.set_header("Retry-After", "10")
        elif isinstance(error, HTTPError) and status_code < 500:
            message = error.log_message or {
                404: "There is nothing at this address.",
                405: "This address does not take that method.",
            }.get(status_code, "The request is malformed.")
        else:
            message = "The archive failed; the operator's log says why."
        self.write_message(message)

    def write_message(self, message: str) -> None:
        """Write an error message in the format of this resource."""
        self.answer(error_document(message), "application/x-votable+xml")

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log what is our fault with its traceback; what is the client's without."""
        if isinstance(value, (GavipError, HTTPError)):
            log.debug("request refused uri=%s reason=%s", self.request.path, value)
        else:
            log.error("request failed uri=%s", self.request.path, exc_info=(typ, value, tb))


class TextErrorHandler(ArchiveHandler):
    """Answers errors as plain text, as fits resources that are not queries (DALI 1.1, section 4.2)."""

    def write_message(self, message: str) -> None:
        """Write the message alone."""
        self.answer_text(f"{message}\n")


class NothingHere(TextErrorHandler):
    """Every other address."""

    def prepare(self) -> None:
        """Answer 404 whatever the method."""
        raise HTTPError(404)
