"""A stand-in for a TAP service with made-up stars: ``python stub_tap.py PORT [SECONDS_PER_QUERY]``.

It understands the one query of the examples, refuses text with ``SELEC `` as a syntax error, and answers 503 to a query
that mentions ``down``.
"""

from __future__ import annotations

import asyncio
import io
import re
import sys
import uuid

import numpy as np
from astropy.table import Table
from tornado import web

JOBS: dict[str, dict] = {}
DELETED: list[str] = []
DELAY = 0.0
_CIRCLE = re.compile(r"CIRCLE\('ICRS', ([-\d.]+), ([-\d.]+), ([-\d.]+)\)")


def fake_stars(ra: float, dec: float, radius: float, n: int = 900) -> Table:
    """Return made-up stars: a cluster at 136 pc in front of a field, a tenth of them without parallax."""
    rng = np.random.default_rng(round(ra * 1000))
    member = rng.random(n) < 0.35
    spread = np.where(member, 0.3, 1.0)
    r = radius * np.sqrt(rng.random(n)) * spread
    phi = rng.random(n) * 2 * np.pi
    colour = np.where(member, rng.beta(1.6, 2.2, n) * 2.6 - 0.1, rng.normal(0.95, 0.42, n))
    giant = ~member & (rng.random(n) < 0.25)
    absolute = np.where(giant, rng.normal(0.7, 0.7, n), 0.4 + 4.1 * colour + rng.normal(0, 0.25, n))
    distance = np.where(member, rng.normal(136, 3, n), rng.uniform(60, 700, n))
    table = Table()
    table["source_id"] = np.arange(1, n + 1, dtype=np.int64) * 10**12
    table["ra"] = (ra + r * np.cos(phi) / np.cos(np.radians(dec))) % 360
    table["dec"] = np.clip(dec + r * np.sin(phi), -90, 90)
    none = rng.random(n) < 0.1
    table["parallax"] = np.ma.array(1000 / distance, mask=none)
    table["parallax_error"] = np.ma.array(rng.uniform(0.02, 0.4, n), mask=none)
    table["pmra"] = np.ma.array(
        np.where(member, rng.normal(20, 1, n), rng.normal(0, 15, n)), mask=none
    )
    table["pmdec"] = np.ma.array(
        np.where(member, rng.normal(-45, 1, n), rng.normal(-4, 15, n)), mask=none
    )
    table["phot_g_mean_mag"] = absolute + 5 * np.log10(distance) - 5
    table["phot_bp_mean_mag"] = table["phot_g_mean_mag"] + colour / 2
    table["phot_rp_mean_mag"] = table["phot_g_mean_mag"] - colour / 2
    table["bp_rp"] = colour
    return table


class Refused(Exception):
    pass


def answer(query: str) -> bytes:
    if "SELEC " in query:
        raise Refused("Incorrect ADQL query: Encountered SELEC at line 1, column 1.")
    match = _CIRCLE.search(query)
    table = fake_stars(*map(float, match.groups())) if match else Table({"x": [1]})
    if "-89.00000000" in query:
        table = table[:0]
    out = io.BytesIO()
    table.write(out, format="votable")
    return out.getvalue()


def error_votable(message: str) -> str:
    return (
        '<?xml version="1.0"?><VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">'
        f'<RESOURCE type="results"><INFO name="QUERY_STATUS" value="ERROR">{message}</INFO></RESOURCE></VOTABLE>'
    )


class Sync(web.RequestHandler):
    async def post(self) -> None:
        query = self.get_argument("QUERY")
        if "down" in query:
            raise web.HTTPError(503)
        await asyncio.sleep(DELAY)
        self.set_header("Content-Type", "application/x-votable+xml")
        try:
            self.write(answer(query))
        except Refused as e:
            self.set_status(400)
            self.write(error_votable(str(e)))

    get = post


class Jobs(web.RequestHandler):
    def post(self) -> None:
        if "down" in self.get_argument("QUERY"):
            raise web.HTTPError(503)
        job = uuid.uuid4().hex
        JOBS[job] = {"query": self.get_argument("QUERY"), "phase": "PENDING"}
        self.redirect(f"/tap/async/{job}", status=303)


class Job(web.RequestHandler):
    def get(self, job: str) -> None:
        if job not in JOBS:
            raise web.HTTPError(404)
        state = JOBS[job]
        error = f"<uws:errorSummary type='fatal'><uws:message>{state.get('error')}</uws:message></uws:errorSummary>"
        self.set_header("Content-Type", "text/xml")
        self.write(
            '<uws:job xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" xmlns:xlink="http://www.w3.org/1999/xlink" '
            'version="1.1">'
            f"<uws:jobId>{job}</uws:jobId><uws:phase>{state['phase']}</uws:phase>"
            "<uws:executionDuration>60</uws:executionDuration><uws:destruction>2030-01-01T00:00:00Z</uws:destruction>"
            f"<uws:parameters/><uws:results><uws:result id='result' xlink:href='http://{self.request.host}/tap/async/"
            f"{job}/results/result'/></uws:results>{error if 'error' in state else ''}</uws:job>"
        )

    def delete(self, job: str) -> None:
        JOBS.pop(job, None)
        DELETED.append(job)
        self.set_status(303)


class Phase(web.RequestHandler):
    def post(self, job: str) -> None:
        asyncio.get_running_loop().call_later(DELAY, self.finish_job, job)
        JOBS[job]["phase"] = "EXECUTING"
        self.redirect(f"/tap/async/{job}", status=303)

    def get(self, job: str) -> None:
        self.write(JOBS[job]["phase"])

    @staticmethod
    def finish_job(job: str) -> None:
        if job not in JOBS:
            return
        try:
            JOBS[job]["result"] = answer(JOBS[job]["query"])
            JOBS[job]["phase"] = "COMPLETED"
        except Refused as e:
            JOBS[job].update(phase="ERROR", error=str(e))


class Result(web.RequestHandler):
    def get(self, job: str) -> None:
        self.set_header("Content-Type", "application/x-votable+xml")
        self.write(JOBS[job]["result"])


class Seen(web.RequestHandler):
    def get(self) -> None:
        self.write({"jobs": list(JOBS), "deleted": DELETED})


async def main(port: int) -> None:
    web.Application(
        [
            ("/tap/sync", Sync),
            ("/tap/async", Jobs),
            ("/tap/async/([0-9a-f]+)", Job),
            ("/tap/async/([0-9a-f]+)/phase", Phase),
            ("/tap/async/([0-9a-f]+)/results/result", Result),
            ("/seen", Seen),
        ]
    ).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    DELAY = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    asyncio.run(main(int(sys.argv[1])))
