from __future__ import annotations

import pytest

from avi_kernelspec import headers
from avi_kernelspec.activity import body
from avi_kernelspec.settings import frame_ancestors, from_environment, template_of
from gavip_api.errors import GavipError, InvalidInput
from gavip_api.models import utcnow


@pytest.fixture
def environ(tmp_path):
    release = tmp_path / "release"
    release.mkdir()
    (release / "avi.yaml").write_text(
        "avi: 1\nname: tiny\ntitle: Tiny & co\ninterface: app.ipynb\noutreach: out.ipynb\n"
    )
    for name in ("app.ipynb", "out.ipynb", "dashboard_x.ipynb", "notes.txt"):
        (release / name).write_text("{}")
    (tmp_path / "secret.ipynb").write_text("{}")
    (release / "link.ipynb").symlink_to(tmp_path / "secret.ipynb")
    return {
        "JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:4321/user/avi-1/",
        "JUPYTERHUB_SERVICE_PREFIX": "/user/avi-1/",
        "JUPYTERHUB_API_TOKEN": "t",
        "GAVIP_RELEASE_DIR": str(release),
        "GAVIP_VIEW": "app.ipynb",
        "GAVIP_USER_SPACE": str(tmp_path / "space" / "own"),
    }


def test_settings_come_from_the_environment(environ, tmp_path):
    found = from_environment(environ)
    assert (found.ip, found.port, found.base_url) == ("127.0.0.1", 4321, "/user/avi-1/")
    assert (found.title, found.template, found.frame_ancestors) == ("Tiny & co", "gavip", "'self'")
    assert found.work_dir == tmp_path / "space" / "own"
    assert found.work_dir.is_dir()


@pytest.mark.parametrize(
    "view",
    [
        "../secret.ipynb",
        "/etc/passwd",
        "link.ipynb",
        "missing.ipynb",
        "notes.txt",
        "",
        "a\x00.ipynb",
    ],
)
def test_only_views_of_the_release_are_served(environ, view):
    with pytest.raises(GavipError):
        from_environment({**environ, "GAVIP_VIEW": view})


@pytest.mark.parametrize("name", ["JUPYTERHUB_SERVICE_URL", "GAVIP_RELEASE_DIR", "GAVIP_VIEW"])
def test_a_missing_variable_is_named(environ, name):
    with pytest.raises(InvalidInput, match=name):
        from_environment({k: v for k, v in environ.items() if k != name})


@pytest.mark.parametrize(
    ("view", "template"),
    [
        ("app.ipynb", "gavip"),
        ("out.ipynb", "outreach"),
        ("dashboard_x.ipynb", "dashboard"),
        ("sub/dashboard_y.ipynb", "dashboard"),
    ],
)
def test_the_view_chooses_the_template(view, template):
    assert template_of(view, "out.ipynb") == template


@pytest.mark.parametrize(
    "text", ["", "'self'", "http://portal.gavip.localhost:8000 https://a.example.org"]
)
def test_exact_origins_may_frame(text):
    assert frame_ancestors(text) == (text or "'self'")


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "https:",
        "http://a; script-src *",
        "http://a/path",
        "'unsafe-inline'",
        "javascript:x",
        "http://a\nX: y",
    ],
)
def test_anything_else_is_refused_as_frame_ancestor(text):
    with pytest.raises(InvalidInput):
        frame_ancestors(text)


def test_pages_talk_to_their_own_server_only():
    sent = headers.security_headers("https://a.example.org", "https://hub.example.org")
    policy = dict(d.split(" ", 1) for d in sent["Content-Security-Policy"].split("; "))
    assert policy["connect-src"] == policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == "https://a.example.org"
    assert policy["object-src"] == "'none'"
    assert "http" not in policy["script-src"]
    assert policy["worker-src"] == "blob:"
    assert sent["Connection-Allowlist"] == (
        '(response-origin "https://hub.example.org/*" "https://a.example.org/*")'
    )


def test_activity_is_reported_in_utc():
    assert b'"last_activity": "20' in body("", utcnow())
    assert body("", utcnow()).count(b'Z"') == 2
