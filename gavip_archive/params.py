"""The parameters of TAP, DALI and UWS requests: reading, checking, nothing else.

Invariants: names are compared without case (DALI 1.1, section 2.4); a single-valued parameter given twice with
different values is refused rather than guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone

from .engine.uploads import TABLE_NAME
from .errors import ParameterError
from .formats.registry import find_format

# Kept with a job and shown under its parameters; all others are ignored (DALI 1.1, section 2.4)
JOB_PARAMETERS = frozenset(
    {"QUERY", "LANG", "FORMAT", "RESPONSEFORMAT", "MAXREC", "UPLOAD", "REQUEST", "RUNID", "VERSION"}
)
_LANGUAGES = re.compile(r"^ADQL(-2\.[01])?$")
_MAX_RUN_ID = 64
MAX_UPLOADS = 8


@dataclass(frozen=True)
class UploadReference:
    """Where an uploaded table comes from: ``param:NAME`` of the same request, or a URL."""

    table: str
    uri: str

    @property
    def inline_name(self) -> str | None:
        """The request parameter that holds the table, or None for a URL."""
        return self.uri[len("param:") :] if self.uri.lower().startswith("param:") else None


@dataclass(frozen=True)
class QueryParameters:
    """The checked parameters of one query.

    Attributes
    ----------
    query : str
        ADQL.
    response_format : str or None
        RESPONSEFORMAT as given.
    max_rows : int or None
        MAXREC.
    run_id : str or None
        RUNID.
    uploads : tuple of UploadReference
        Uploaded tables.
    """

    query: str
    response_format: str | None = None
    max_rows: int | None = None
    run_id: str | None = None
    uploads: tuple[UploadReference, ...] = ()


Pairs = Iterable[tuple[str, str]]


def single(pairs: Pairs, name: str) -> str | None:
    """Return the one value of a parameter, None when absent or empty.

    Raises
    ------
    ParameterError
        When it is given more than once with different values.
    """
    values = {value for key, value in pairs if key.upper() == name and value.strip()}
    if len(values) > 1:
        raise ParameterError(f"The parameter {name} is given more than once.")
    return values.pop() if values else None


def job_parameters(pairs: Pairs) -> list[tuple[str, str]]:
    """Return the parameters that belong to a job, names in upper case, repeated UPLOADs joined."""
    kept = [(key.upper(), value) for key, value in pairs if key.upper() in JOB_PARAMETERS]
    uploads = [value for key, value in kept if key == "UPLOAD" and value.strip()]
    rest = [pair for pair in kept if pair[0] != "UPLOAD"]
    return rest + ([("UPLOAD", ";".join(uploads))] if uploads else [])


def read_query(pairs: Pairs) -> QueryParameters:
    """Check the parameters of a query (TAP 1.1, section 2.7).

    Raises
    ------
    ParameterError
        When one is missing, unknown or unusable.
    """
    pairs = list(pairs)
    request = single(pairs, "REQUEST")
    if request and request.lower() != "doquery":
        raise ParameterError(
            f"REQUEST={request} is not supported.", hint="Leave it out, or write REQUEST=doQuery."
        )
    language = single(pairs, "LANG")
    if not language:
        raise ParameterError("The parameter LANG is missing.", hint="Write LANG=ADQL.")
    if not _LANGUAGES.match(language.upper()):
        raise ParameterError(
            f"The query language {language} is not supported.", hint="Write LANG=ADQL."
        )
    query = single(pairs, "QUERY")
    if not query:
        raise ParameterError(
            "The parameter QUERY is missing.",
            hint="Write QUERY=SELECT TOP 10 * FROM gaiadr3.gaia_source",
        )
    response_format = single(pairs, "RESPONSEFORMAT") or single(pairs, "FORMAT")
    find_format(response_format)
    run_id = single(pairs, "RUNID")
    if run_id and len(run_id) > _MAX_RUN_ID:
        raise ParameterError(f"RUNID is longer than {_MAX_RUN_ID} characters.")
    return QueryParameters(
        query, response_format, _max_rows(single(pairs, "MAXREC")), run_id, read_uploads(pairs)
    )


def _max_rows(value: str | None) -> int | None:
    if value is None:
        return None
    if not re.match(r"^\s*[0-9]{1,18}\s*$", value):
        raise ParameterError(f"MAXREC={value} is not a non-negative whole number.")
    return int(value)


def read_uploads(pairs: Pairs) -> tuple[UploadReference, ...]:
    """Check the UPLOAD parameter: ``name,uri`` pairs separated by semicolons (TAP 1.1, section 2.7.6).

    Raises
    ------
    ParameterError
        When it is malformed, a name is used twice or is no identifier, or the URI scheme is unknown.
    """
    references: list[UploadReference] = []
    for key, value in pairs:
        if key.upper() != "UPLOAD":
            continue
        for item in filter(None, (part.strip() for part in value.split(";"))):
            table, comma, uri = item.partition(",")
            name = table.strip().removeprefix("TAP_UPLOAD.").removeprefix("tap_upload.")
            if not comma or not uri.strip():
                raise ParameterError(
                    f"UPLOAD={item} is malformed.", hint="Write UPLOAD=name,param:file"
                )
            if not TABLE_NAME.match(name):
                raise ParameterError(
                    f"“{name}” cannot be the name of an uploaded table.",
                    hint="Use letters, digits and _.",
                )
            if any(name.lower() == each.table.lower() for each in references):
                raise ParameterError(f"The upload {name} is given twice.")
            reference = UploadReference(name, uri.strip())
            if reference.inline_name is None and not re.match(
                r"https?://", reference.uri, re.IGNORECASE
            ):
                raise ParameterError(
                    f"The upload {name} has an unsupported address.",
                    hint="Use param:NAME or an http(s) URL.",
                )
            references.append(reference)
    if len(references) > MAX_UPLOADS:
        raise ParameterError(f"More than {MAX_UPLOADS} tables are uploaded.")
    return tuple(references)


def read_time(value: str, name: str) -> datetime:
    """Read a DALI timestamp (DALI 1.1, section 3.3.3), which is UTC with or without the Z.

    Raises
    ------
    ParameterError
        When it is not ISO 8601.
    """
    try:
        moment = datetime.fromisoformat(re.sub(r"Z$", "+00:00", value.strip()))
    except ValueError as error:
        raise ParameterError(
            f"{name}={value} is not a time.", hint="Write it like 2026-12-31T23:59:59Z."
        ) from error
    return (
        moment.replace(tzinfo=timezone.utc)
        if moment.tzinfo is None
        else moment.astimezone(timezone.utc)
    )


def read_whole(value: str, name: str) -> int:
    """Read a whole number.

    Raises
    ------
    ParameterError
        When it is none.
    """
    text = value.strip()
    if not re.match(r"^-?[0-9]{1,15}$", text):
        raise ParameterError(f"{name}={value} is not a whole number.")
    return int(text)
