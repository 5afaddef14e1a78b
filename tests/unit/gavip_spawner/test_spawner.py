"""What the hub's spawner makes of a server: the mode follows from the name, the reservation from the owner."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub.utils import subdomain_hook_idna

from gavip_api.enums import ReservationKind, Role
from gavip_api.errors import InvalidInput
from gavip_spawner.process import GavipProcessSpawner

SHA = "a" * 40
INSTANCE = {
    "id": "01a20008-71fb-757f-87d6-1e6bd2daad9e",
    "owner": {"name": "alice", "roles": ["scientist"]},
    "avi": "gavip/gavidav",
    "release": SHA,
    "template": "python",
    "view": "interface",
    "notebook": "app.ipynb",
    "permissions": {},
    "resources": {"memory": 512 << 20, "cpu": 0.25},
}


def spawner(
    tmp_path: Path, name: str, options: dict[str, Any], *groups: str
) -> GavipProcessSpawner:
    user = SimpleNamespace(
        name=name,
        groups=[SimpleNamespace(name=g) for g in groups],
        url=f"/user/{name}/",
        settings={"subdomain_hook": subdomain_hook_idna, "domain": "x.test"},
    )
    made = GavipProcessSpawner(
        state_dir=str(tmp_path),
        archive_url="http://127.0.0.1:1/tap",
        portal_api_url="http://127.0.0.1:2/api/v1",
        frame_ancestors="'self' http://{owner}.x.test",
    )
    made.user = user
    made.user_options = options
    made.process_name = "name-1"
    made.get_env = lambda: {"JUPYTERHUB_API_TOKEN": "limited"}
    made.get_args = list
    return made


def test_a_technical_user_gets_the_interface_that_the_portal_described(tmp_path: Path) -> None:
    made = spawner(tmp_path, "avi-" + "0" * 32, {"instance": INSTANCE})
    options = made._instance_options()
    spec = made._spec(options)
    assert spec.argv[1:] == ("-m", "avi_kernelspec.server")
    assert spec.environment["GAVIP_AVI"] == "gavip/gavidav"
    assert spec.environment["GAVIP_VIEW"] == "app.ipynb"
    assert spec.environment["GAVIP_FRAME_ANCESTORS"] == "'self' http://alice.x.test"
    assert spec.environment["JUPYTERHUB_API_TOKEN"] == "limited"
    release = str(tmp_path / "releases" / SHA)
    assert [m.source for m in spec.mounts if m.read_only] == [release]
    assert spec.cwd == str(tmp_path / "userspace" / "alice" / "avis" / "gavip.gavidav")
    reservation = made._reservation(options)
    assert (reservation.owner, reservation.kind) == ("alice", ReservationKind.INTERFACE)
    assert reservation.roles == (Role.SCIENTIST,)


def test_a_frame_of_the_owners_lab_is_named_as_the_hub_names_its_host(tmp_path: Path) -> None:
    options = INSTANCE | {"owner": {"name": "zoë", "roles": []}}
    made = spawner(tmp_path, "avi-" + "0" * 32, {"instance": options})
    spec = made._spec(made._instance_options())
    assert spec.environment["GAVIP_FRAME_ANCESTORS"] == "'self' http://xn--zo-ija.x.test"


def test_a_persons_options_cannot_turn_their_server_into_anothers_instance(tmp_path: Path) -> None:
    made = spawner(tmp_path, "mallory", {"instance": INSTANCE}, "scientist", "operator", "other")
    assert not made.technical
    spec = made._spec(None)
    assert "jupyterhub.singleuser" in spec.argv
    assert spec.cwd == str(tmp_path / "userspace" / "mallory")
    assert not Path(spec.environment["HOME"]).is_relative_to(spec.cwd)
    reservation = made._reservation(None)
    assert (reservation.owner, reservation.kind) == ("mallory", ReservationKind.NOTEBOOK)
    assert set(reservation.roles or ()) == {Role.SCIENTIST, Role.OPERATOR}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="none"),
        pytest.param({"instance": {**INSTANCE, "release": "../../etc"}}, id="bad-release"),
        pytest.param({"instance": {**INSTANCE, "avi": "../x"}}, id="bad-avi"),
        pytest.param({"instance": {**INSTANCE, "extra": 1}}, id="unknown-member"),
    ],
)
def test_an_instance_without_a_valid_description_is_refused(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    made = spawner(tmp_path, "avi-" + "0" * 32, options)
    with pytest.raises(InvalidInput):
        made._spec(made._instance_options())


def test_nothing_of_the_platforms_environment_leaks_into_user_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAVIP_COOKIE_SECRET", "s3cret")
    monkeypatch.setenv("CONFIGPROXY_AUTH_TOKEN", "s3cret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    made = spawner(tmp_path, "avi-" + "0" * 32, {"instance": INSTANCE})
    assert "s3cret" not in made._spec(made._instance_options()).environment.values()


def test_state_survives_a_restart_of_the_hub(tmp_path: Path) -> None:
    made = spawner(tmp_path, "alice", {})
    again = spawner(tmp_path, "alice", {})
    again.load_state(made.get_state())
    assert again.process_name == "name-1"
    again.clear_state()
    assert again.process_name == ""
