"""Permissions as sets: what is missing, what is common, and how people read it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gavip_api.manifest import NOTHING_GRANTED, Permissions
from gavip_api.permits import (
    NO_GRANT,
    Granted,
    beyond,
    common,
    in_words,
    is_nothing,
    needed_error,
    same,
    together,
)

HOSTS = ("a.example.org", "b.example.org", "c.example.org")


def sets(kind: type[Permissions] = Permissions) -> st.SearchStrategy[Permissions]:
    return st.builds(
        kind,
        userspace=st.sampled_from(["none", "read"]),
        archive=st.booleans(),
        network=st.lists(st.sampled_from(HOSTS), unique=True).map(tuple),
    )


def facts(p: Permissions) -> set[str]:
    return (
        ({"userspace"} if p.userspace == "read" else set())
        | ({"archive"} if p.archive else set())
        | set(p.network)
    )


@given(sets(), sets(Granted))
def test_they_are_sets(asked: Permissions, granted: Permissions) -> None:
    assert facts(beyond(asked, granted)) == facts(asked) - facts(granted)
    assert facts(common(asked, granted)) == facts(asked) & facts(granted)
    assert facts(together(granted, asked)) == facts(asked) | facts(granted)
    assert is_nothing(asked) == (not facts(asked))
    assert same(asked, granted) == (facts(asked) == facts(granted))
    assert len(in_words(asked)) == len(facts(asked))


@given(sets(), sets(Granted))
def test_what_was_asked_and_granted_needs_nothing_more(
    asked: Permissions, granted: Permissions
) -> None:
    assert is_nothing(beyond(asked, together(granted, asked)))
    assert is_nothing(beyond(common(asked, granted), granted))


def test_nothing_is_said_of_what_every_avi_may() -> None:
    assert in_words(NOTHING_GRANTED) == ()
    assert is_nothing(NO_GRANT)


def test_the_error_names_what_is_missing() -> None:
    missing = Permissions(userspace="read", network=("a.example.org",))
    error = needed_error("gavip/demo", missing, "a" * 40)
    assert (error.code, error.status) == ("permissions-needed", 409)
    assert error.message.startswith(
        "gavip/demo needs your permission to read all your files, but not change them;"
        " query the Gaia archive in your name; send data to a.example.org."
    )
    assert error.detail["in_words"] == [w.text for w in in_words(missing)]


def test_many_hosts_add_up_until_they_are_too_many() -> None:
    total = NO_GRANT
    for n in range(25):
        hosts = tuple(f"h{n}-{i}.example.org" for i in range(20))
        total = together(total, Permissions(network=hosts))
    assert len(total.network) == 500
    with pytest.raises(ValidationError):
        together(total, Permissions(network=("one-more.example.org",)))


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("example.org, your own computer", id="words"),
        pytest.param("*.example.org", id="wildcard"),
        pytest.param("https://example.org", id="url"),
        pytest.param("example.org:443", id="port"),
        pytest.param("EXAMPLE.org", id="upper case"),
        pytest.param("ex\u0430mple.org", id="other alphabet"),
        pytest.param("169.254.169.254", id="address"),
        pytest.param("0x7f.1", id="address in other words"),
        pytest.param("localhost", id="without a dot"),
        pytest.param("-a.example.org", id="hyphen first"),
        pytest.param("example.org\n", id="newline"),
        pytest.param("a" * 64 + ".org", id="long label"),
        pytest.param("a." * 130 + "org", id="long name"),
        pytest.param("", id="empty"),
    ],
)
def test_hosts_are_names_and_nothing_else(host: str) -> None:
    with pytest.raises(ValidationError, match="host name"):
        Permissions(network=(host,))


def test_a_host_that_is_named_twice_is_one() -> None:
    hosts = ("a.example.org", "xn--bcher-kva.example", "a.example.org")
    assert Permissions(network=hosts).network == hosts[:2]
