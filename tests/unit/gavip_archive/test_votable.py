"""The VOTable writer, read back by astropy."""

import io

import numpy as np
import pytest
from astropy import units
from astropy.io.votable import parse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gavip_archive.engine.fields import NUMPY_TYPES, Field, Page
from gavip_archive.formats import votable

XML_TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cn"), max_codepoint=0xFFFD),
    min_size=1,
    max_size=8,
)
ASCII_TEXT = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=8)
VALUES = {
    "boolean": st.booleans(),
    "short": st.integers(-(2**15), 2**15 - 1),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "char": ASCII_TEXT,
    "unicodeChar": XML_TEXT.map(str.strip).filter(bool),
}


class FakeResult:
    """A result that is already here, cut into pages of two rows so that page borders are met."""

    def __init__(self, fields, columns, overflow=False):
        self.fields, self.columns, self.overflow = fields, columns, overflow
        self.row_count = len(columns[0]) if columns else 0

    def pages(self):
        for start in range(0, self.row_count, 2):
            yield Page(tuple(column[start : start + 2] for column in self.columns))


def masked(datatype, values):
    filler = "" if NUMPY_TYPES[datatype] == "O" else 0
    data = np.array(
        [filler if value is None else value for value in values], dtype=NUMPY_TYPES[datatype]
    )
    return np.ma.MaskedArray(data, mask=[value is None for value in values])


@st.composite
def results(draw):
    datatypes = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=10))
    count = draw(st.integers(0, 7))
    fields, columns = [], []
    for index, datatype in enumerate(datatypes):
        values = draw(st.lists(st.none() | VALUES[datatype], min_size=count, max_size=count))
        fields.append(Field(f"c{index}", datatype))
        columns.append(masked(datatype, values))
    return FakeResult(tuple(fields), columns)


def read(write, result, query="SELECT 1"):
    file = io.BytesIO()
    write(result, file, query)
    file.seek(0)
    return parse(file, verify="exception")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(result=results())
@pytest.mark.parametrize(
    "write", [votable.write_binary2, votable.write_tabledata], ids=["binary2", "tabledata"]
)
def test_astropy_reads_back_what_was_written(write, result):
    table = read(write, result).get_first_table()
    assert [(field.name, field.datatype) for field in table.fields] == [
        (f.name, f.datatype) for f in result.fields
    ]
    for index, (field, column) in enumerate(zip(result.fields, result.columns, strict=True)):
        back = table.array[table.array.dtype.names[index]]
        masks = np.ma.getmaskarray(back)
        assert len(back) == result.row_count
        for row, (value, hidden) in enumerate(
            zip(column.data.tolist(), np.ma.getmaskarray(column).tolist(), strict=True)
        ):
            if hidden:
                # astropy shows a missing string as empty and a missing float as NaN
                assert masks[row] or str(back[row]) in ("", "nan")
            elif field.is_text:
                assert str(back[row]) == value
            else:
                assert back[row] == value


def test_missing_integers_are_masked_in_both_serializations():
    result = FakeResult(
        (Field("n", "long"), Field("s", "char")),
        [masked("long", [1, None]), masked("char", [None, "x"])],
    )
    for write in (votable.write_binary2, votable.write_tabledata):
        array = read(write, result).get_first_table().array
        assert np.ma.getmaskarray(array[array.dtype.names[0]]).tolist() == [False, True]


def test_infinities_and_nan_survive():
    column = np.ma.MaskedArray(np.array([np.inf, -np.inf, np.nan]), mask=[False] * 3)
    for write in (votable.write_binary2, votable.write_tabledata):
        array = read(write, FakeResult((Field("x", "double"),), [column])).get_first_table().array
        assert np.array_equal(array[array.dtype.names[0]].data, column.data, equal_nan=True)


def test_metadata_is_escaped_and_kept():
    field = Field("a<b", "double", "km.s**-1", "phys.veloc", 'said "<&>"', None)
    document = read(
        votable.write_binary2,
        FakeResult((field,), [masked("double", [1.0])]),
        'SELECT "x" <> 1 & 2',
    )
    (read_field,) = document.get_first_table().fields
    assert (read_field.name, read_field.description) == ("a<b", 'said "<&>"')
    assert read_field.unit == units.km / units.s
    infos = {info.name: info.value for info in document.resources[0].infos}
    assert infos["QUERY_STATUS"] == "OK"
    assert infos["QUERY"] == 'SELECT "x" <> 1 & 2'


def test_overflow_comes_after_the_table():
    file = io.BytesIO()
    votable.write_tabledata(
        FakeResult((Field("x", "int"),), [masked("int", [1])], overflow=True), file, "q"
    )
    text = file.getvalue().decode()
    assert text.index("</TABLE>") < text.index('value="OVERFLOW"')


def test_error_document_is_a_votable():
    document = parse(io.BytesIO(votable.error_document("no <such> table\x00")))
    (info,) = document.resources[0].infos
    assert (info.name, info.value, info.content) == ("QUERY_STATUS", "ERROR", "no <such> table")
