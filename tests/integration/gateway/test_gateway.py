"""The gateway on loopback, with real servers behind it: forwarding, streaming, limits, and the record."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gavip_spawner.gateway.exchange import Limits, Part
from gavip_spawner.gateway.policy import Caller, HostEntry, Route, Rules
from tests.support.gateway import BODIES, MIB, Recorder, running_gateway, serving

JOB = "01a20008-71fb-757f-87d6-1e6bd2daad9e"
INTERFACE = Caller(
    "c-interface", "interface", "alice", "gaia/demo", server="avi-00/", archive=True,
    network=("a.org", "*.b.org", "rebound.org:81"),
)  # fmt: skip
PIPELINE = Caller("c-job", "job", "bob", "gaia/demo", JOB)
WHO = {"127.0.0.2": INTERFACE, "127.0.0.3": PIPELINE}
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = b"GET /services/portal/api/v1/users/me HTTP/1.1\r\nHost: gw\r\n\r\n"
POST = b"POST /services/portal/api/v1/jobs HTTP/1.1\r\nHost: gw\r\n"

pytestmark = pytest.mark.integration


def status(answer):
    return int(answer.split(b" ", 2)[1])


def problem(answer):
    return json.loads(answer.partition(b"\r\n\r\n")[2])


async def eventually(true, seconds=10.0):
    async def poll():
        while not true():  # noqa: ASYNC110 - polls what other tasks and threads do
            await asyncio.sleep(0.01)

    await asyncio.wait_for(poll(), seconds)


def portal(port):
    return {Route.PORTAL: Part("127.0.0.1", port)}


async def test_a_request_reaches_its_part_and_only_once(tmp_path):
    seen = Recorder(OK)
    async with serving(seen) as port, running_gateway(tmp_path, WHO, parts=portal(port)) as gw:
        # a second request on the same connection is nobody's
        answer = await gw.ask(GET + b"GET /hub/api/users HTTP/1.1\r\nHost: gw\r\n\r\n")
    assert answer == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
    assert [bytes(r) for r in seen.received] == [
        b"GET /services/portal/api/v1/users/me HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
        b"Connection: close\r\nX-Forwarded-For: 127.0.0.2\r\n\r\n" % port
    ]
    (entry,) = gw.entries()
    del entry["time"], entry["seconds"], entry["sent"]
    assert entry == {
        "address": "127.0.0.2",
        "container": "c-interface",
        "kind": "interface",
        "owner": "alice",
        "avi": "gaia/demo",
        "job": "",
        "method": "GET",
        "target": "/services/portal/api/v1/users/me",
        "decision": "allowed",
        "reason": "the portal's API",
        "status": 200,
        "received": len(answer),
    }


async def test_no_secret_is_recorded(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    seen = Recorder(OK)
    async with serving(seen) as port, running_gateway(tmp_path, WHO, parts=portal(port)) as gw:
        for path in (b"/services/portal/api/v1/x", b"/hub/api/secret", b"http://c.org/x"):
            await gw.ask(
                b"GET " + path + b"?token=SECRET HTTP/1.1\r\nHost: gw\r\n"
                b"Authorization: token SECRET\r\nCookie: SECRET\r\n\r\n"
            )
        await gw.ask(b"GET /?SECRET HTTP/1.1\r\nSECRET\r\n\r\n")
    assert b"SECRET" in bytes(seen.received[0])
    assert len(gw.entries()) == 4
    assert "SECRET" not in gw.log_file.read_text()
    assert "SECRET" not in caplog.text
    assert [r.levelname for r in caplog.records if r.name == "gavip.gateway"] == ["WARNING"] * 3


@pytest.mark.parametrize(
    ("address", "data", "code", "told"),
    [
        pytest.param("127.0.0.9", GET, 403, "no container", id="stranger"),
        pytest.param("127.0.0.3", GET, 403, "no such route for this job", id="a job at the portal"),
        pytest.param(
            "127.0.0.2", b"CONNECT c.org:443 HTTP/1.1\r\nHost: c.org\r\n\r\n", 403,
            "not among the hosts granted", id="host not granted",
        ),
        pytest.param(
            "127.0.0.2", b"CONNECT a.org:443 HTTP/1.1\r\nHost: a.org\r\n\r\n", 403,
            "operator does not allow", id="host not allowed",
        ),
        pytest.param("127.0.0.2", b"GET / HTTP/1.1\r\n\r\n", 400, "no valid HTTP/1.1", id="malformed"),
        pytest.param(
            "127.0.0.2", POST + b"Content-Length: 2000000\r\n\r\n", 413, "may have", id="large",
        ),
        pytest.param("127.0.0.2", GET, 502, "no portal", id="a part that is not there"),
    ],
)  # fmt: skip
async def test_refusals_say_why_and_what_next(tmp_path, address, data, code, told):
    async with running_gateway(tmp_path, WHO) as gw:
        answer = await gw.ask(data, address)
    assert status(answer) == code
    assert told in problem(answer)["detail"]
    assert problem(answer)["title"]
    (entry,) = gw.entries()
    assert entry["decision"] == ("failed" if code == 502 else "refused")
    assert told in entry["reason"]


async def test_events_flow_as_they_come(tmp_path):
    go = asyncio.Event()

    async def server(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n")  # fmt: skip
        await go.wait()
        writer.write(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")
        writer.close()

    async with serving(server) as port, running_gateway(tmp_path, WHO, parts=portal(port)) as gw:
        transport = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
        async with (
            httpx.AsyncClient(transport=transport) as client,
            client.stream("GET", f"{gw.url}/services/portal/api/v1/events") as response,
        ):
            lines = response.aiter_lines()
            assert await asyncio.wait_for(anext(lines), 10) == "data: 1"
            go.set()
            assert [line async for line in lines if line] == ["data: 2"]


async def test_a_client_that_leaves_ends_the_servers_work(tmp_path):
    seen = Recorder(hold=True)
    async with serving(seen) as port, running_gateway(tmp_path, WHO, parts=portal(port)) as gw:
        _, writer = await gw.connect()
        writer.write(GET)
        await eventually(lambda: seen.received and seen.received[0])
        writer.close()
        await eventually(lambda: seen.ended)


async def test_large_answers_are_not_held_in_memory(tmp_path):
    """The server can only go on sending while the client reads."""
    block, blocks = b"x" * MIB, 64
    sent = 0

    async def server(reader, writer):
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (blocks * MIB))
        for _ in range(blocks):
            writer.write(block)
            await writer.drain()
            sent += 1
        writer.close()

    async with serving(server) as port, running_gateway(tmp_path, WHO, parts=portal(port)) as gw:
        reader, writer = await gw.connect()
        writer.write(GET)
        await reader.readexactly(1)
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.2)
        # buffers of four sockets and two programs
        assert sent < blocks / 2
        rest = 0
        while data := await reader.read(MIB):
            rest += len(data)
        assert rest > blocks * MIB
        writer.close()
    assert gw.entries()[0]["received"] == rest + 1


async def test_a_cut_answer_is_seen_as_cut(tmp_path):
    async def server(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        writer.close()

    async with serving(server) as port, running_gateway(tmp_path, WHO, parts=portal(port)) as gw:
        transport = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
        async with httpx.AsyncClient(transport=transport) as client:
            with pytest.raises(httpx.TransportError):
                await client.get(f"{gw.url}/services/portal/api/v1/x")


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        pytest.param([b"Content-Length: 5\r\n\r\n", b"he", b"llo"], 200, id="length, in pieces"),
        pytest.param(
            [b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n"], 200,
            id="chunked",
        ),
        pytest.param([b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\n"], 400, id="bad chunk"),
        pytest.param(
            [b"Transfer-Encoding: chunked\r\n\r\n"] + [b"80000\r\n" + b"x" * 0x80000 + b"\r\n"] * 3,
            413, id="chunks without end",
        ),
    ],
)  # fmt: skip
async def test_bodies(tmp_path, pieces, code):
    seen = Recorder(OK, wait=0.5)
    async with serving(seen) as port, running_gateway(tmp_path, WHO, parts=portal(port)) as gw:
        answer = await gw.ask([POST, *pieces])
        assert status(answer) == code
        if code == 200:
            assert b"hello" in bytes(seen.received[0])
        else:
            # the server never sees the end of such a request
            await eventually(lambda: seen.ended)
            assert not bytes(seen.received[0]).endswith(b"0\r\n\r\n")


async def test_a_client_that_waits_for_leave_gets_it(tmp_path):
    seen = Recorder(OK, wait=0.5)
    async with serving(seen) as port, running_gateway(tmp_path, WHO, parts=portal(port)) as gw:
        reader, writer = await gw.connect()
        writer.write(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hello")
        assert (await reader.read()).endswith(b"ok")
        writer.close()
    assert b"Expect" not in bytes(seen.received[0])


async def test_an_early_answer_arrives_before_the_body_is_sent(tmp_path):
    async def server(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with serving(server) as port, running_gateway(tmp_path, WHO, parts=portal(port)) as gw:
        answer = await gw.ask(POST + b"Content-Length: 500000\r\n\r\n" + b"x" * 1000)
    assert status(answer) == 429


async def test_connections_of_one_container_are_bounded(tmp_path):
    limits = Limits(body=BODIES, per_container=3, total=5)
    async with running_gateway(tmp_path, WHO, limits=limits) as gw:
        held = [await gw.connect() for _ in range(3)]
        assert status(await gw.ask(GET)) == 429
        held += [await gw.connect("127.0.0.3") for _ in range(2)]
        assert status(await gw.ask(GET, "127.0.0.4")) == 503
        for _, writer in held:
            writer.close()
        # and free again
        answers = []
        while 502 not in answers:
            answers.append(status(await gw.ask(GET)))
            assert len(answers) < 500


async def test_a_head_that_does_not_come_is_not_waited_for(tmp_path):
    limits = Limits(body=BODIES, head_timeout=0.3)
    async with running_gateway(tmp_path, WHO, limits=limits) as gw:
        assert await gw.ask(b"GET / HT") == b""
    assert gw.entries()[0]["reason"] == "nothing was sent for too long"


async def test_a_server_that_keeps_silent_is_given_up(tmp_path):
    limits = Limits(body=BODIES, idle_timeout=0.3)
    seen = Recorder(hold=True)
    async with (
        serving(seen) as port,
        running_gateway(tmp_path, WHO, parts=portal(port), limits=limits) as gw,
    ):
        assert status(await gw.ask(GET)) == 504
    assert gw.entries()[0]["decision"] == "failed"


async def test_stopping_lets_requests_end(tmp_path):
    seen = Recorder(OK, wait=0.5)
    async with serving(seen) as port, running_gateway(tmp_path, WHO, parts=portal(port)) as gw:
        asked = asyncio.create_task(gw.ask(GET))
        await eventually(lambda: seen.received)
        await gw.gateway.close(5)
        assert status(await asked) == 200
        with pytest.raises(OSError, match="onnect"):
            await gw.connect()


async def test_stopping_cuts_off_what_does_not_end(tmp_path):
    seen = Recorder(hold=True)
    async with (
        serving(seen) as port,
        running_gateway(tmp_path, WHO, parts=portal(port), grace=0.1) as gw,
    ):
        asked = asyncio.create_task(gw.ask(GET))
        await eventually(lambda: seen.received)
        await gw.gateway.close(0.1)
        assert await asked == b""
    assert gw.entries()[0]["reason"] == "the gateway stopped"


# -- hosts outside --


def outside(port):
    return Rules(
        allowed=tuple(HostEntry.parse(f"{h}:{port}") for h in ("a.org", "*.b.org", "rebound.org"))
    )


def granted(port):
    return {
        "127.0.0.2": Caller(
            "c", "interface", network=(f"a.org:{port}", f"*.b.org:{port}", f"rebound.org:{port}")
        )
    }


async def test_a_tunnel_carries_bytes_both_ways(tmp_path):
    async def echo(reader, writer):
        while data := await reader.read(1000):
            writer.write(data.upper())
        writer.write(b"end")
        writer.close()

    async with (
        serving(echo) as port,
        running_gateway(
            tmp_path, granted(port), rules=outside(port),
            names={"a.org": ["127.0.0.1"]}, networks=["127.0.0.1/32"],
        ) as gw,
    ):  # fmt: skip
        # as http.client of Python < 3.12 asks, with the first bytes of TLS already behind it
        answer = await gw.ask(b"CONNECT A.org:%d HTTP/1.0\r\n\r\nhello" % port, eof=True)
    assert answer == b"HTTP/1.1 200 Connection established\r\n\r\nHELLOend"
    (entry,) = gw.entries()
    assert (entry["method"], entry["target"]) == ("CONNECT", f"a.org:{port}")
    assert (entry["decision"], entry["received"]) == ("allowed", len(b"HELLOend"))


async def test_plain_http_goes_with_the_hosts_own_name_and_without_ours(tmp_path):
    seen = Recorder(OK)
    async with (
        serving(seen) as port,
        running_gateway(
            tmp_path, granted(port), rules=outside(port),
            names={"x.b.org": ["127.0.0.1"]}, networks=["127.0.0.1/32"],
        ) as gw,
    ):  # fmt: skip
        answer = await gw.ask(
            b"GET http://x.b.org:%d/p?q HTTP/1.1\r\nHost: evil\r\nX-Forwarded-For: 1\r\n\r\n" % port
        )
    assert status(answer) == 200
    assert bytes(seen.received[0]) == (
        b"GET /p?q HTTP/1.1\r\nHost: x.b.org:%d\r\nConnection: close\r\n\r\n" % port
    )


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"], ["100.64.0.1"], ["192.168.1.1"], ["::1"],
        ["0.0.0.0"], ["224.0.0.1"], ["::ffff:127.0.0.1"], ["fe80::1%lo"], ["93.184.216.34", "10.0.0.1"],
    ],
    ids=" ".join,
)  # fmt: skip
async def test_a_name_with_a_private_address_is_refused(tmp_path, addresses):
    seen = Recorder(OK)
    async with (
        serving(seen) as port,
        running_gateway(
            tmp_path, granted(port), rules=outside(port), names={"a.org": addresses}
        ) as gw,
    ):
        answer = await gw.ask(b"CONNECT a.org:%d HTTP/1.1\r\nHost: a\r\n\r\n" % port)
    assert status(answer) == 403
    assert "not public" in problem(answer)["detail"]
    assert gw.entries()[0]["decision"] == "refused"
    assert seen.received == []


async def test_the_connection_goes_to_the_address_that_was_judged(tmp_path):
    """The resolver's second answer would be another one (DNS rebinding)."""
    good, bad = Recorder(OK), Recorder(OK)
    answers = [["127.0.0.1"], ["127.0.0.5"]]

    class Names(dict):
        def __getitem__(self, host):
            return answers.pop(0)

    async with (
        serving(good) as port,
        running_gateway(
            tmp_path, granted(port), rules=outside(port),
            names=Names({"rebound.org": []}), networks=["127.0.0.1/32"],
        ) as gw,
    ):  # fmt: skip
        server = await asyncio.start_server(bad, "127.0.0.5", port)
        answer = await gw.ask(b"GET http://rebound.org:%d/ HTTP/1.1\r\nHost: a\r\n\r\n" % port)
        server.close()
    assert status(answer) == 200
    assert (len(good.received), len(bad.received), len(answers)) == (1, 0, 1)


async def test_a_host_that_does_not_exist_or_answer_says_so(tmp_path):
    async with serving(Recorder()) as port:
        pass
    async with running_gateway(
        tmp_path, granted(port), rules=outside(port),
        names={"a.org": ["127.0.0.1"]}, networks=["127.0.0.0/8"],
    ) as gw:  # fmt: skip
        closed = await gw.ask(b"CONNECT a.org:%d HTTP/1.1\r\nHost: a\r\n\r\n" % port)
        unknown = await gw.ask(b"CONNECT y.b.org:%d HTTP/1.1\r\nHost: a\r\n\r\n" % port)
    assert (status(closed), status(unknown)) == (502, 502)
    assert "does not answer" in problem(closed)["detail"]
    assert "cannot be resolved" in problem(unknown)["detail"]
    # clients of tunnels show nothing but the status line
    assert b"cannot be resolved" in unknown.split(b"\r\n")[0]


# -- whatever comes, over real connections --


@given(
    st.lists(
        st.sampled_from(
            [GET, POST, b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"\r\n",
             b"3\r\nabc\r\n", b"0\r\n\r\n", b"abc", b"\x00\xff", b"Host: x\r\n", b"\n"]
        ),
        max_size=8,
    )
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_whatever_comes_at_most_one_request_is_forwarded(tmp_path_factory, pieces):
    folder = tmp_path_factory.mktemp("gw")
    seen = Recorder(OK, wait=0.02)
    loose = []

    async def go():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: loose.append(context))
        async with serving(seen) as port, running_gateway(folder, WHO, parts=portal(port)) as gw:
            await gw.ask(pieces, eof=True)
            with contextlib.suppress(ConnectionError):
                # still well
                assert status(await gw.ask(GET)) == 200

    asyncio.run(go())
    assert loose == []
    assert len(seen.received) <= 2
    assert all(bytes(r).count(b"HTTP/1.1") <= 1 for r in seen.received)
