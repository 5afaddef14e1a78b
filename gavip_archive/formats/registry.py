"""Which formats there are, and under which names they can be asked for (TAP 1.1, section 2.7.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from gavip_archive.engine.worker import Result
from gavip_archive.errors import ParameterError

from . import tabular, votable


@dataclass(frozen=True)
class Format:
    """One output format.

    Attributes
    ----------
    content_type : str
        Media type of the answer.
    aliases : tuple of str
        Short names for RESPONSEFORMAT.
    suffix : str
        File name suffix.
    write : callable
        Writes a result and its query to a file.
    """

    content_type: str
    aliases: tuple[str, ...]
    suffix: str
    write: Callable[[Result, BinaryIO, str], None]


VOTABLE = Format(
    "application/x-votable+xml",
    ("votable", "votable/b2", "votable/binary2"),
    "vot",
    votable.write_binary2,
)

FORMATS: tuple[Format, ...] = (
    VOTABLE,
    Format(
        "application/x-votable+xml;serialization=TABLEDATA",
        ("votable/td", "votable/tabledata"),
        "vot",
        votable.write_tabledata,
    ),
    Format("text/csv;header=present", ("csv",), "csv", tabular.write_csv),
    Format("text/tab-separated-values", ("tsv",), "tsv", tabular.write_tsv),
    Format("application/fits", ("fits",), "fits", tabular.write_fits),
    Format("application/vnd.apache.parquet", ("parquet",), "parquet", tabular.write_parquet),
)

# Other spellings clients send: media types without their parameters, and the pre-standard text/xml
_SYNONYMS = {
    "text/xml": "votable",
    "application/xml": "votable",
    "application/x-votable+xml;serialization=binary2": "votable",
    "text/csv": "csv",
    "text/plain": "tsv",
    "application/x-parquet": "parquet",
    "application/parquet": "parquet",
    "application/x-fits": "fits",
}


def find_format(asked: str | None) -> Format:
    """Return the format a RESPONSEFORMAT value asks for; VOTable when nothing is asked.

    Raises
    ------
    ParameterError
        When there is no such format.
    """
    if not asked:
        return VOTABLE
    wanted = "".join(asked.lower().split())
    wanted = _SYNONYMS.get(wanted, wanted)
    for each in FORMATS:
        if wanted in each.aliases or wanted == each.content_type.lower():
            return each
    raise ParameterError(
        f"There is no output format {asked}.",
        hint=f"The formats are {', '.join(each.aliases[0] for each in FORMATS)}.",
    )
