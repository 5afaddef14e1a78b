"""CSV, TSV, FITS and Parquet, read back by other libraries."""

import csv
import io

import duckdb
import numpy as np
import pytest
from astropy.io import fits

from gavip_archive.engine.fields import Field, Page
from gavip_archive.errors import ParameterError
from gavip_archive.formats import tabular
from gavip_archive.formats.registry import FORMATS, find_format

FIELDS = (
    Field("n", "long"),
    Field("x", "double", unit="mas.yr**-1"),
    Field("s", "char", width=5),
    Field("b", "boolean"),
)


class Result:
    fields = FIELDS
    row_count = 3
    overflow = False

    def pages(self):
        columns = (
            np.ma.MaskedArray(np.array([2**53 + 1, 0, -5]), mask=[False, True, False]),
            np.ma.MaskedArray(np.array([0.1, 0.0, 1e300]), mask=[False, True, False]),
            np.ma.MaskedArray(
                np.array(["a,\tb", "", 'q"'], dtype=object), mask=[False, True, False]
            ),
            np.ma.MaskedArray(np.array([True, False, False]), mask=[False, True, False]),
        )
        yield Page(tuple(column[:2] for column in columns))
        yield Page(tuple(column[2:] for column in columns))


def written(write):
    file = io.BytesIO()
    write(Result(), file, "SELECT")
    return file.getvalue()


def test_csv():
    rows = list(csv.reader(io.StringIO(written(tabular.write_csv).decode(), newline="")))
    assert rows == [
        ["n", "x", "s", "b"],
        ["9007199254740993", "0.1", "a,\tb", "true"],
        ["", "", "", ""],
        ["-5", "1e+300", 'q"', "false"],
    ]


def test_tsv_has_one_line_per_row_and_no_tab_inside():
    lines = written(tabular.write_tsv).decode().splitlines()
    assert len(lines) == 4
    assert {line.count("\t") for line in lines} == {3}


def test_fits():
    with fits.open(io.BytesIO(written(tabular.write_fits))) as document:
        table = document[1]
        assert table.columns["n"].null == -(2**63)
        assert table.columns["x"].unit == "mas yr**-1"
        assert table.data["n"].tolist() == [2**53 + 1, -(2**63), -5]
        assert table.data["x"][0] == 0.1
        assert np.isnan(table.data["x"][1])
        assert table.data["s"].tolist() == ["a,\tb", "", 'q"']


def test_parquet(tmp_path):
    path = tmp_path / "result.parquet"
    path.write_bytes(written(tabular.write_parquet))
    found = duckdb.sql(f"SELECT * FROM read_parquet('{path}')")
    assert found.columns == ["n", "x", "s", "b"]
    assert found.fetchall() == [
        (2**53 + 1, 0.1, "a,\tb", True),
        (None,) * 4,
        (-5, 1e300, 'q"', False),
    ]


@pytest.mark.parametrize(
    ("asked", "alias"),
    [
        pytest.param(None, "votable", id="default"),
        pytest.param("", "votable", id="empty"),
        pytest.param("VOTable", "votable", id="case"),
        pytest.param("text/xml", "votable", id="old-media-type"),
        pytest.param("votable/td", "votable/td", id="tabledata"),
        pytest.param(
            "application/x-votable+xml; serialization=TABLEDATA",
            "votable/td",
            id="media-type-with-blank",
        ),
        pytest.param("application/x-votable+xml;serialization=BINARY2", "votable", id="binary2"),
        pytest.param("text/csv", "csv", id="csv"),
        pytest.param("application/fits", "fits", id="fits"),
        pytest.param("parquet", "parquet", id="parquet"),
    ],
)
def test_find_format(asked, alias):
    assert alias in find_format(asked).aliases


def test_every_declared_name_is_found():
    for each in FORMATS:
        assert find_format(each.content_type) is each
        assert all(find_format(alias) is each for alias in each.aliases)


def test_unknown_format_names_the_known_ones():
    with pytest.raises(ParameterError) as caught:
        find_format("docx")
    assert "votable" in caught.value.hint
