"""The internal API keeps what its OpenAPI document promises, whatever is sent (schemathesis on the real server)."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

pytest.importorskip("schemathesis")

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
SECONDS = 300


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("who", "paths"),
    [
        pytest.param(
            "portal",
            r"^/(jobs|schedules|hooks|queue|archive-queries|pools/\{owner\}$)",
            id="portal",
        ),
        pytest.param(
            "operator", r"^/(role-pools|scheduler|ledger|audit|pools/.*/limits)", id="operator"
        ),
        pytest.param("spawner", r"^/(reservations|runs)", id="spawner and runner"),
    ],
)
async def test_the_document_is_kept(service, tmp_path, who, paths):
    await service.submit()
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{service.client.base_url}openapi.json",
        "--header",
        f"Authorization: token {who}",
        "--include-path-regex",
        paths,
        # streams end with the job, or never
        "--exclude-path-regex",
        "events$|log$",
        "--checks",
        CHECKS,
        "--phases",
        "examples,coverage,fuzzing",
        "--max-examples",
        "5",
        "--seed",
        "1",
        "--request-timeout",
        "10",
        "--no-color",
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    except asyncio.TimeoutError:
        process.kill()
        raise
    print(output.decode()[-6000:])
    assert process.returncode == 0
    assert b" generated, " in output
