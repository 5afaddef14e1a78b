"""The errors of the archive, each with the HTTP status TAP clients expect.

Invariant: ``message`` is safe to show to the person who sent the query; it names no path and no internal table.
"""

from __future__ import annotations

from gavip_api.errors import GavipError


class ArchiveError(GavipError):
    """Base of the archive's errors."""

    code = "archive-error"
    status = 500


class ParameterError(ArchiveError):
    """A TAP, DALI or UWS parameter is missing, unknown or has an unusable value."""

    code = "archive-parameter"
    status = 400
    title = "Unusable parameter"


class ADQLError(ArchiveError):
    """The query is not ADQL, or names something that does not exist."""

    code = "adql"
    status = 400
    title = "The query was not understood"


class UploadError(ArchiveError):
    """An uploaded table cannot be used."""

    code = "archive-upload"
    status = 400
    title = "The uploaded table cannot be used"


class QueryFailed(ArchiveError):
    """The database refused the query while it ran: a cast, an overflow, a domain error."""

    code = "query-failed"
    status = 400
    title = "The query failed"


class QueryTooLarge(ArchiveError):
    """The query needed more memory than one query may use."""

    code = "query-memory"
    status = 400
    title = "The query needs too much memory"


class QueryTimedOut(ArchiveError):
    """The query ran longer than its execution duration."""

    code = "query-timeout"
    status = 400
    title = "The query took too long"


class QueryCancelled(ArchiveError):
    """The query was stopped: by its owner, or because the service shuts down."""

    code = "query-cancelled"
    status = 400
    title = "The query was stopped"


class Busy(ArchiveError):
    """All workers and all places in the queue are taken."""

    code = "archive-busy"
    status = 503
    title = "The archive is busy"


class NoSuchJob(ArchiveError):
    """There is no job with this id."""

    code = "no-such-job"
    status = 404
    title = "No such job"


class NoSuchResource(ArchiveError):
    """There is nothing at this address."""

    code = "no-such-resource"
    status = 404
    title = "Nothing here"


class WrongPhase(ArchiveError):
    """The job is not in a phase that allows this."""

    code = "wrong-phase"
    status = 403
    title = "The job's phase does not allow this"


class DataUnavailable(ArchiveError):
    """A data package cannot be fetched or is not what it should be."""

    code = "archive-data"
    status = 503
    title = "The archive's data cannot be fetched"


class DatabaseUnusable(ArchiveError):
    """The archive's database file is missing or of another version."""

    code = "archive-database"
    status = 503
    title = "The archive's database is not usable"


class AddressUnusable(ArchiveError):
    """The service cannot listen on its address."""

    code = "archive-address"
    status = 503
    title = "The address is taken"
