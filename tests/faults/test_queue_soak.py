"""Killing the queue at random instants loses no job and runs none twice.

The short form runs with every test run; ``GAVIP_SOAK=1`` (``make soak``) makes it 100 kills and 1,000 jobs.
"""

from __future__ import annotations

import json
import os

import pytest

from tests.support.soak import soak

LONG = bool(os.environ.get("GAVIP_SOAK"))
# seven minutes on a machine of its own, and several times that on a busy one
pytestmark = [pytest.mark.integration, pytest.mark.timeout(3600 if LONG else 420)]
KILLS, JOBS = (100, 1000) if LONG else (6, 48)


async def test_kills_at_random_instants_lose_and_double_nothing(queue, capsys):
    figures = await soak(queue, KILLS, JOBS, {}, 1200 if LONG else 300)
    with capsys.disabled():
        print("\nsoak:", json.dumps(figures))
