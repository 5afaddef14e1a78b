"""Lock files: how they are written, and that those of the clone hold together."""

from __future__ import annotations

import re

import pytest

from images.catalogue import HERE
from images.lock import AFTER, WITHOUT, lock_text, pins, wanted

LOCKS = HERE / "locks"
LINE = re.compile(r"([a-z0-9][a-z0-9.\-]*)==(\S+) --hash=sha256:([0-9a-f]{64})\Z")


def item(name: str, version: str) -> dict[str, object]:
    return {
        "metadata": {"name": name, "version": version},
        "download_info": {"archive_info": {"hashes": {"sha256": "ab" * 32}}},
    }


def test_a_lock_is_sorted_hashed_and_without_what_is_not_wanted() -> None:
    report = {
        "install": [
            item("Zope_Thing", "1"), item("gavip", "0.1.0"), item("rfc3987_syntax", "1.1"),
            item("lark", "1.3"), item("Astropy", "8.0.2"),
        ]
    }  # fmt: skip
    assert lock_text("python", report) == (
        "# made by images/lock.py from python.in; do not edit\n"
        f"astropy==8.0.2 --hash=sha256:{'ab' * 32}\n"
        f"zope-thing==1 --hash=sha256:{'ab' * 32}\n"
    )


def test_a_lock_becomes_constraints() -> None:
    lock = lock_text("x", {"install": [item("b", "2"), item("a", "1")]})
    assert pins(lock) == "a==1\nb==2"


def test_gavip_is_the_wheel_of_the_clone() -> None:
    text = "# comment\ngavip[interface]\nnumpy\n"
    assert wanted(text, "gavip-1-py3-none-any.whl").splitlines() == [
        "# comment", "gavip[interface] @ file:///in/gavip-1-py3-none-any.whl", "numpy",
    ]  # fmt: skip


def locked(name: str) -> dict[str, str]:
    lines = (LOCKS / f"{name}.lock").read_text().splitlines()
    found = {}
    for line in lines:
        if not line.startswith("#"):
            match = LINE.match(line)
            assert match, f"{name}.lock: {line}"
            found[match[1]] = match[2]
    return found


@pytest.mark.parametrize("name", AFTER)
def test_every_lock_is_whole_and_keeps_the_versions_of_the_ones_before(name: str) -> None:
    mine = locked(name)
    assert len(mine) > 50
    assert not WITHOUT & set(mine)
    for other in AFTER[name]:
        theirs = locked(other)
        assert {k: v for k, v in mine.items() if theirs.get(k, v) != v} == {}


@pytest.mark.parametrize("name", AFTER)
def test_what_is_asked_for_is_locked(name: str) -> None:
    asked = {
        re.split(r"[\[<>=~!]", line)[0].strip().lower().replace("_", "-")
        for line in (LOCKS / f"{name}.in").read_text().splitlines()
        if line and not line.startswith("#")
    }
    assert asked - {"gavip"} <= set(locked(name))


def test_images_above_deps_light_agree_with_it() -> None:
    light = locked("light")
    for name in ("python", "lab", "hub"):
        assert {k: v for k, v in locked(name).items() if light.get(k, v) != v} == {}
