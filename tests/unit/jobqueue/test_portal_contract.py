"""Errors of the queue reach people through the portal, which passes on the codes of ``gavip_api`` only."""

from __future__ import annotations

import pytest

from gavip_api import errors

KNOWN = {
    kind.code
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.GavipError)
}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        pytest.param({"spec": {"notebook": "a.ipynb", "resources": {"cpu": 99}}}, 422, id="never"),
        pytest.param({"parameters": {"x": 1}}, 422, id="parameters"),
        pytest.param({"owner": {"name": ""}}, 422, id="owner"),
        pytest.param({"owner": {"name": "x" * 256}}, 422, id="long owner"),
    ],
)
async def test_codes_are_those_every_client_knows(service, payload, change, status):
    r = await service.client.post("jobs", json=payload() | change)
    assert (r.status_code, r.json()["code"] in KNOWN) == (status, True)
