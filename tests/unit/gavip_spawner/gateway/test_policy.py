"""What each kind of container may reach: tables of the policy."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gavip_spawner.gateway.policy import (
    Caller,
    HostEntry,
    Route,
    Rules,
    Target,
    decide,
    external_archive,
    is_plain,
)

JOB = "01a20008-71fb-757f-87d6-1e6bd2daad9e"
OTHER_JOB = "01a20008-71fb-757f-87d6-1e6bd2daad9f"
AVI = "avi-" + "0f" * 16
INTERFACE = Caller(
    "c1", "interface", "alice", "gaia/demo", server=f"{AVI}/", archive=True, network=("api.a.org",)
)
NOTEBOOK = Caller("c2", "notebook", "alice", server="alice/", archive=True)
PIPELINE = Caller(
    "c3", "job", "alice", "gaia/demo", JOB, archive=True, network=("*.a.org", "b.org:8443", "!")
)
RULES = Rules(
    allowed=tuple(map(HostEntry.parse, ("*.a.org", "b.org:8443", "c.org"))),
    notebooks=(HostEntry.parse("pypi.example.org"),),
)
OUTSIDE = replace(RULES, archive=("archive.example.org", 443))


def own(method, path):
    return Target(method, path=path)


def away(host, port=443, method="CONNECT"):
    return Target(method, host, port, "" if method == "CONNECT" else "/x")


HUB = [
    ("POST", "/hub/api/oauth2/token", True, True),
    ("GET", "/hub/api/user", True, True),
    ("POST", "/hub/api/users/{name}/activity", True, True),
    ("GET", "/hub/api", False, True),
    ("GET", "/hub/api/", False, True),
    ("GET", "/hub/api/oauth2/token", False, False),
    ("GET", "/hub/api/oauth2/authorize", False, False),
    ("POST", "/hub/api/user", False, False),
    ("HEAD", "/hub/api/user", False, False),
    ("GET", "/hub/api/user/", False, False),
    ("GET", "/hub/api/users/{name}", False, False),
    ("GET", "/hub/api/users/{name}/activity", False, False),
    ("POST", "/hub/api/users/bob/activity", False, False),
    ("POST", "/hub/api/users//activity", False, False),
    ("POST", "/hub/api/users/{name}/tokens", False, False),
    ("POST", "/hub/api/users/{name}/activity/../tokens", False, False),
    ("POST", "/hub/api/users/{name}%2Fx/activity", False, False),
    ("POST", "/hub/api/users/{name}/server", False, False),
    ("GET", "/hub/api/users", False, False),
    ("GET", "/hub/api/services", False, False),
    ("GET", "/hub/api/info", False, False),
    ("POST", "/hub/api/shutdown", False, False),
    ("GET", "/hub/login", False, False),
    ("POST", "/hub/login", False, False),
    ("GET", "/hub/metrics", False, False),
    ("GET", "/HUB/api/user", False, False),
]


@pytest.mark.parametrize(
    ("method", "path", "instance", "lab"), HUB, ids=[f"{m} {p}" for m, p, *_ in HUB]
)
def test_the_hub(method, path, instance, lab):
    for caller, fine in ((INTERFACE, instance), (NOTEBOOK, lab), (PIPELINE, False)):
        decision = decide(caller, own(method, path.format(name=caller.hub_user or "x")), RULES)
        assert decision.route == (Route.HUB if fine else None)


def test_without_the_name_of_its_server_nobody_reaches_the_hub():
    nameless = replace(INTERFACE, server="")
    assert decide(nameless, own("GET", "/hub/api/user"), RULES).route is None
    assert decide(nameless, own("POST", "/hub/api/users//activity"), RULES).route is None


API = "/services/portal/api/v1/"
RUNS = "/services/jobqueue/api/v1/runs/"
PARTS = [
    (INTERFACE, f"{API}users/me", Route.PORTAL),
    (INTERFACE, f"{API}jobs/{JOB}/events", Route.PORTAL),
    (NOTEBOOK, f"{API}files", Route.PORTAL),
    (PIPELINE, f"{API}users/me", None),
    (INTERFACE, "/services/portal/", None),
    (INTERFACE, "/services/portal/metrics", None),
    (INTERFACE, "/services/portal/api/v1", None),
    (INTERFACE, f"{API}../../metrics", None),
    (INTERFACE, f"{API}%2e%2e/%2e%2e/metrics", None),
    (INTERFACE, f"{API}/jobs", None),
    (PIPELINE, f"{RUNS}{JOB}/progress", Route.JOBQUEUE),
    (PIPELINE, f"{RUNS}{OTHER_JOB}/progress", None),
    (PIPELINE, f"{RUNS}{JOB}", None),
    (PIPELINE, f"{RUNS}{JOB}/../{OTHER_JOB}/progress", None),
    (PIPELINE, f"{RUNS}{JOB}/..%2f{OTHER_JOB}/progress", None),
    (PIPELINE, "/services/jobqueue/api/v1/jobs", None),
    (replace(PIPELINE, job=""), f"{RUNS}/progress", None),
    (INTERFACE, f"{RUNS}{JOB}/progress", None),
    (NOTEBOOK, f"{RUNS}{JOB}/progress", None),
    (INTERFACE, "/tap", Route.ARCHIVE),
    (PIPELINE, "/tap/sync", Route.ARCHIVE),
    (NOTEBOOK, "/tap/async/x/results/result", Route.ARCHIVE),
    (replace(INTERFACE, archive=False), "/tap/sync", None),
    (replace(PIPELINE, archive=False), "/tap/sync", None),
    (INTERFACE, "/tapestry", None),
    (INTERFACE, "/", None),
    (replace(INTERFACE, kind=""), f"{API}users/me", None),
    (replace(INTERFACE, kind="build"), "/tap", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("caller", "path", "route"), PARTS, ids=[f"{c.kind or 'none'} {p}" for c, p, _ in PARTS]
)
def test_the_platforms_parts(caller, path, route):
    for method in ("GET", "POST", "DELETE"):
        assert decide(caller, own(method, path), RULES).route == route


FORWARD = [
    ("granted and allowed", INTERFACE, away("api.a.org"), True),
    ("plain http", INTERFACE, away("api.a.org", 80, "GET"), True),
    ("another port", INTERFACE, away("api.a.org", 8080), False),
    ("not granted", INTERFACE, away("c.org"), False),
    ("allowed, asked as a sibling", INTERFACE, away("x.a.org"), False),
    ("domain granted and allowed", PIPELINE, away("x.a.org"), True),
    ("the domain itself", PIPELINE, away("a.org"), False),
    ("listed as a suffix", PIPELINE, away("evila.org"), False),
    ("listed port", PIPELINE, away("b.org", 8443), True),
    ("port not listed", PIPELINE, away("b.org", 443), False),
    ("granted, not allowed", replace(INTERFACE, network=("d.org",)), away("d.org"), False),
    ("everything granted", replace(INTERFACE, network=("*", "*.", "*.*")), away("c.org"), False),
    ("metadata", replace(INTERFACE, network=("169.254.169.254",)), away("169.254.169.254", 80), False),
    ("notebook, listed", NOTEBOOK, away("pypi.example.org"), True),
    ("notebook, AVIs' list", NOTEBOOK, away("c.org"), False),
    ("notebook, granted to itself", replace(NOTEBOOK, network=("c.org",)), away("c.org"), False),
    ("no kind", replace(INTERFACE, kind=""), away("api.a.org"), False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("caller", "target", "fine"), [row[1:] for row in FORWARD], ids=[row[0] for row in FORWARD]
)
def test_other_hosts(caller, target, fine):
    decision = decide(caller, target, RULES)
    assert decision.route == (Route.FORWARD if fine else None)
    if not fine and caller.kind:
        assert "permissions.network" in decision.hint or "notebook_hosts" in decision.hint


@pytest.mark.parametrize("caller", [INTERFACE, NOTEBOOK, PIPELINE], ids=lambda c: c.kind)
def test_an_archive_outside_needs_its_permission_alone(caller):
    there, beside = away("archive.example.org"), away("archive.example.org", 80)
    assert decide(caller, there, OUTSIDE).route is Route.FORWARD
    assert decide(caller, beside, OUTSIDE).route is None
    refused = decide(replace(caller, archive=False), there, OUTSIDE)
    assert refused.route is None
    assert "archive: true" in refused.hint


@pytest.mark.parametrize(
    ("url", "there"),
    [
        ("http://127.0.0.1:8090/tap", None),
        ("http://localhost:8090/tap", None),
        ("http://[::1]:8090/tap", None),
        ("", None),
        ("https://gea.esac.esa.int/tap-server/tap", ("gea.esac.esa.int", 443)),
        ("http://archive.institute.org:8080/tap", ("archive.institute.org", 8080)),
    ],
)
def test_where_the_archive_is(url, there):
    assert external_archive(url) == there


@pytest.mark.parametrize(
    ("text", "pattern", "ports"),
    [
        ("a.org", "a.org", {80, 443}),
        ("*.A.org", "*.a.org", {80, 443}),
        ("a.org:8443", "a.org", {8443}),
        ("192.0.2.7:21", "192.0.2.7", {21}),
    ],
)
def test_entries_of_lists(text, pattern, ports):
    assert HostEntry.parse(text) == HostEntry(pattern, frozenset(ports))


@pytest.mark.parametrize(
    "text",
    ["", "*", "*.", "a.*.org", "https://a.org", "a.org/x", "a.org:", "a.org:0", "a.org:70000",
     "a..org", "a b", "a.org\n", "-", "u@a.org", "[::1]"],
)  # fmt: skip
def test_what_is_no_entry(text):
    with pytest.raises(ValueError, match="is not"):
        HostEntry.parse(text)


@pytest.mark.parametrize(
    "path",
    ["", "x", "/a//b", "/a/./b", "/a/../b", "/a/..", "/a/%2e%2E/b", "/a%2Fb", "/a%5cb", "/a\\b",
     "/a%00", "/a%0d%0aX", "/a%zz", "/a#b", "/ä", "/a b", "/%7f"],
)  # fmt: skip
def test_paths_that_two_programs_may_read_differently(path):
    assert not is_plain(path)


@pytest.mark.parametrize("path", ["/", "/a", "/a/", "/a/b%20c", "/a/@x:1/~b", "/%C3%A4"])
def test_plain_paths(path):
    assert is_plain(path)


PIECES = st.sampled_from(
    ["/", "..", ".", "%2e", "%2F", "hub", "api", "user", "users", AVI, "bob", "activity", "//",
     "services", "portal", "v1", "jobqueue", "runs", JOB, OTHER_JOB, "tap", "%00", "\\", "tokens"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=14).map("".join), st.sampled_from(["GET", "POST", "DELETE"]))
def test_no_path_leads_to_what_is_not_listed(text, method):
    path = f"/{text}"
    for caller in (INTERFACE, NOTEBOOK, PIPELINE):
        if decide(caller, own(method, path), RULES).route is None:
            continue
        assert ".." not in path
        assert "//" not in path
        assert OTHER_JOB not in path or path.startswith(("/services/portal/api/v1/", "/tap"))
        assert path.startswith(("/hub/api", API, f"{RUNS}{JOB}/", "/tap"))
        if path.startswith("/hub/api/users"):
            assert path == f"/hub/api/users/{caller.hub_user}/activity"
