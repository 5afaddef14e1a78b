"""Rules for all tests: in CI nothing may skip; whole-platform browser tests come last."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

NO_SKIP = bool(os.environ.get("GAVIP_NO_SKIP"))

# how fast examples are made says how busy the machine is, and nothing of the code
settings.register_profile("gavip", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gavip")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where every part is supposed to be there."""
    report = yield
    if NO_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} may not skip here: {reason}"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests/docker late, for images may still be being built, and tests/browser last: playwright's synchronous
    interface keeps an event loop running in this thread from its first use on, and `asyncio.run` and every
    asynchronous test fail after that.
    """
    last = Path(__file__).parent / "browser"
    items.sort(key=lambda item: last in item.path.parents)
