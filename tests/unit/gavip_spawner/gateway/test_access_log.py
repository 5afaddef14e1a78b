"""The record is bounded, and so are the warnings."""

from __future__ import annotations

import json
import logging

from gavip_spawner.gateway.access_log import AccessLog, Entry
from gavip_spawner.gateway.policy import Target


def entries(folder):
    return [json.loads(line) for f in folder.iterdir() for line in f.read_text().splitlines()]


def test_one_container_cannot_flood_the_log_of_the_gateway(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    log = AccessLog(tmp_path / "access.log", 1 << 20, 2)
    for _ in range(200):
        log.write(Entry("10.0.0.2", reason="no"))
    log.write(Entry("10.0.0.3", reason="no"))
    log.write(Entry("10.0.0.3", decision="allowed"))
    log.close()
    assert len(entries(tmp_path)) == 202
    texts = [r.getMessage() for r in caplog.records]
    # the minute may end meanwhile
    assert 31 <= len(texts) <= 62
    assert any("only in the file" in text for text in texts)


def test_old_files_go(tmp_path):
    log = AccessLog(tmp_path / "access.log", 2000, 2)
    for number in range(100):
        log.write(Entry("10.0.0.2", decision="allowed", sent=number))
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [f.name for f in files] == ["access.log", "access.log.1", "access.log.2"]
    assert all(f.stat().st_size <= 2000 for f in files)
    assert max(e["sent"] for e in entries(tmp_path)) == 99


def test_an_entry_is_one_line_whatever_was_asked(tmp_path):
    log = AccessLog(tmp_path / "access.log", 1 << 20, 2)
    log.write(
        Entry("10.0.0.2", target=Target("GET", path="/\n{}\u2028" + "x" * 5000), reason="a\nb")
    )
    log.close()
    (entry,) = entries(tmp_path)
    assert len(entry["target"]) == 300
