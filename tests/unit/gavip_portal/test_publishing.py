"""Publishing and seeding, with a real database and real repositories."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from gavip_api.errors import Conflict, InvalidInput, NotFound
from gavip_api.manifest import InvalidManifest
from gavip_portal.app import MIGRATIONS
from gavip_portal.services.catalogue import Catalogue
from gavip_portal.services.publishing import Publisher
from gavip_portal.services.seeding import seed
from gavip_portal.storage.tables import Base
from gavip_spawner.layout import StateLayout
from gavip_web.database import Database, downgrade, upgrade
from tests.support.portal_platform import MANIFEST, write_example


async def publish(publisher: Publisher, folder: Path, version: str = "1.0.0", **more: bool) -> str:
    sha = await publisher.repository("gavip", "demo").commit_folder(folder, "m\n")
    await publisher.publish("gavip", "demo", sha, version, **more)
    return sha


def test_migrations_make_the_declared_tables(database: Database) -> None:
    with database.engine.connect() as connection:
        difference = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    assert difference == []


def test_migrations_go_back_and_forth(database: Database) -> None:
    downgrade(database.engine, MIGRATIONS, "base")
    upgrade(database.engine, MIGRATIONS)


async def test_published_avi_is_in_the_catalogue(
    publisher: Publisher, database: Database, layout: StateLayout, tmp_path: Path
) -> None:
    sha = await publish(publisher, write_example(tmp_path))
    catalogue = Catalogue(database)
    (summary,) = await catalogue.list()
    assert (summary.ref, summary.release.version) == ("gavip/demo", "1.0.0")
    avi = await catalogue.show("gavip", "demo")
    assert [(v.name, v.title) for v in avi.views] == [
        ("interface", "Explore a cone"),
        ("dashboard-density", "Density map"),
    ]
    assert "Reads *real* rows." in avi.readme
    assert list(avi.pipelines) == ["hr-diagram", "count"]
    assert (layout.release(sha) / "app.ipynb").is_file()
    resolved = await catalogue.resolve("gavip/demo", sha)
    assert resolved.view(None).notebook == "app.ipynb"
    with pytest.raises(NotFound) as caught:
        resolved.view("other")
    assert "dashboard-density" in (caught.value.hint or "")


async def test_private_release_does_not_exist_for_people(
    publisher: Publisher, database: Database, tmp_path: Path
) -> None:
    folder = write_example(tmp_path)
    first = await publish(publisher, folder)
    (folder / "README.md").write_text("changed")
    second = await publish(publisher, folder, "1.1.0", public=False)
    catalogue = Catalogue(database)
    assert [r.version for r in await catalogue.releases("gavip", "demo")] == ["1.0.0"]
    assert (await catalogue.resolve("gavip/demo")).sha == first
    with pytest.raises(NotFound):
        await catalogue.resolve("gavip/demo", second)


@pytest.mark.parametrize("avi", ["gavip/none", "gavip", "../x/y", "A/b", "gavip/demo/x", ""])
async def test_unknown_avis_are_not_found(database: Database, avi: str) -> None:
    with pytest.raises(NotFound):
        await Catalogue(database).resolve(avi)


async def test_every_fault_is_named_and_nothing_is_stored(
    publisher: Publisher, database: Database, layout: StateLayout, tmp_path: Path
) -> None:
    bad = MANIFEST.replace("title: Demo", "titel: Demo").replace("template", "x") + "colour: red\n"
    folder = write_example(tmp_path, bad)
    with pytest.raises(InvalidManifest) as caught:
        await publish(publisher, folder)
    assert {"titel", "title", "colour"} <= {f.where for f in caught.value.faults}
    assert await Catalogue(database).list() == []
    assert not layout.releases.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda f: (f / "avi.yaml").unlink(), "no avi.yaml", id="no manifest"),
        pytest.param(
            lambda f: (f / "app.ipynb").unlink(), "no file 'app.ipynb'", id="missing view"
        ),
        pytest.param(
            lambda f: (f / "app.ipynb").write_text("x"), "not a Jupyter", id="no notebook"
        ),
        pytest.param(
            lambda f: (f / "avi.yaml").write_text(MANIFEST.replace("name: demo", "name: other")),
            "'other'",
            id="other name",
        ),
    ],
)
async def test_faulty_commits_are_refused(
    publisher: Publisher, database: Database, tmp_path: Path, change: object, message: str
) -> None:
    folder = write_example(tmp_path)
    change(folder)  # type: ignore[operator]
    with pytest.raises(InvalidInput, match=message):
        await publish(publisher, folder)
    assert await Catalogue(database).list() == []


async def test_versions_only_rise(publisher: Publisher, tmp_path: Path) -> None:
    folder = write_example(tmp_path)
    await publish(publisher, folder, "1.2.0")
    for version in ("1.2.0", "1.1.9"):
        with pytest.raises(Conflict):
            await publish(publisher, folder, version)
    await publish(publisher, folder, "1.10.0")


async def test_seeding_publishes_once_per_content(
    publisher: Publisher, database: Database, tmp_path: Path
) -> None:
    folder = write_example(tmp_path / "examples")
    (tmp_path / "examples" / "no-avi").mkdir()
    patterns = [str(tmp_path / "examples" / "*")]
    assert await seed(publisher, patterns) == ["demo 1.0.0"]
    assert await seed(publisher, patterns) == []
    (folder / "__pycache__" / "y.pyc").write_bytes(b"junk")
    assert await seed(publisher, patterns) == []
    (folder / "README.md").write_text("changed")
    assert await seed(publisher, patterns) == ["demo 1.0.1"]
    releases = await Catalogue(database).releases("gavip", "demo")
    assert [r.version for r in releases] == ["1.0.1", "1.0.0"]


async def test_faulty_example_does_not_keep_others_out(
    publisher: Publisher, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_example(tmp_path / "examples")
    broken = tmp_path / "examples" / "broken"
    broken.mkdir()
    (broken / "avi.yaml").write_text("avi: 2\n")
    assert await seed(publisher, [str(tmp_path / "examples" / "*")]) == ["demo 1.0.0"]
    assert "broken not published" in caplog.text
