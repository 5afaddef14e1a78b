"""Reading one request and writing it anew: what is passed on, and that nothing else ever is."""

from __future__ import annotations

import json

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gavip_api.errors import BadRequest, GavipError
from gavip_spawner.gateway.errors import EgressRefused, HeadTooLarge, VersionUnsupported
from gavip_spawner.gateway.messages import RequestReader, RequestWriter, problem
from gavip_spawner.gateway.policy import Target

OWN = "10.213.0.1:8099"


def reader(max_head=8192, max_headers=20):
    return RequestReader(OWN, max_head, max_headers)


def head_of(data, **limits):
    request = reader(**limits)
    request.feed(data)
    return request.head()


def passed(data, pieces=(), forwarded_for="10.213.0.9"):
    """Return what the server gets for a request that arrives in pieces."""
    request = reader()
    request.feed(data)
    waiting = list(pieces)
    while (head := request.head()) is None:
        request.feed(waiting.pop(0))
    writer = RequestWriter(head, b"up:1", head.origin_form, forwarded_for)
    sent = writer.start
    while True:
        piece = request.body()
        if piece is None:
            request.feed(waiting.pop(0) if waiting else b"")
            continue
        sent += writer.end() if piece[1] else writer.data(piece[0])
        if piece[1]:
            return sent


def test_a_request_is_written_anew():
    sent = passed(
        b"POST /x?y=1 HTTP/1.1\r\nHost: 10.213.0.1:8099\r\nX-Forwarded-For: 127.0.0.1\r\n"
        b"X_Forwarded_Host: evil\r\nForwarded: for=127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\n"
        b"Authorization: token t\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n"
        b"Proxy-Authorization: Basic x\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\nTE: trailers\r\n"
        b"Content-Length: 5\r\n\r\nhello"
    )
    assert sent == (
        b"POST /x?y=1 HTTP/1.1\r\nHost: up:1\r\nAuthorization: token t\r\nConnection: close\r\n"
        b"X-Forwarded-For: 10.213.0.9\r\nContent-Length: 5\r\n\r\nhello"
    )


def test_a_chunked_body_is_chunked_anew_without_extensions_and_trailers():
    sent = passed(
        b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        [b"3;x=y\r\nabc\r\n", b"0\r\nX-Forwarded-For: 1\r\n\r\n"],
        "",
    )
    assert sent == (
        b"PUT / HTTP/1.1\r\nHost: up:1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n0\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("line", "target", "origin_form"),
    [
        (b"GET /a?b HTTP/1.1", Target("GET", path="/a"), b"/a?b"),
        (b"CONNECT a.org:443 HTTP/1.1", Target("CONNECT", "a.org", 443), b""),
        (b"CONNECT A.org.:8443 HTTP/1.0", Target("CONNECT", "a.org", 8443), b""),
        (b"CONNECT [2001:db8::1]:443 HTTP/1.1", Target("CONNECT", "2001:db8::1", 443), b""),
        (b"GET http://a.org/x?y HTTP/1.1", Target("GET", "a.org", 80, "/x"), b"/x?y"),
        (b"GET http://a.org:81?y HTTP/1.1", Target("GET", "a.org", 81, "/"), b"/?y"),
        # a client that does not honour NO_PROXY
        (b"GET http://10.213.0.1:8099/tap?x HTTP/1.1", Target("GET", path="/tap"), b"/tap?x"),
    ],
    ids=lambda v: v.decode() if isinstance(v, bytes) else None,
)
def test_targets(line, target, origin_form):
    found = head_of(line + b"\r\nHost: a\r\n\r\n")
    assert (found.target, found.origin_form) == (target, origin_form)


HEAD = b"\r\nHost: a\r\n"
REFUSED = {
    "two framings": (
        b"POST / HTTP/1.1" + HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        BadRequest,
    ),
    "two lengths": (
        b"POST / HTTP/1.1" + HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n",
        BadRequest,
    ),
    "other coding": (
        b"POST / HTTP/1.1" + HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        BadRequest,
    ),
    "obfuscated coding": (
        b"POST / HTTP/1.1" + HEAD + b"Transfer-Encoding: xchunked\r\n\r\n",
        BadRequest,
    ),
    "space before the colon": (
        b"POST / HTTP/1.1" + HEAD + b"Transfer-Encoding : chunked\r\n\r\n",
        BadRequest,
    ),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", BadRequest),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", BadRequest),
    "space in the target": (b"GET /a b HTTP/1.1" + HEAD + b"\r\n", BadRequest),
    "line end in a value": (b"GET / HTTP/1.1" + HEAD + b"X: a\rb\r\n\r\n", BadRequest),
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", BadRequest),
    "TRACE": (b"TRACE / HTTP/1.1" + HEAD + b"\r\n", BadRequest),
    "odd method": (b"get / HTTP/1.1" + HEAD + b"\r\n", BadRequest),
    "asterisk": (b"OPTIONS * HTTP/1.1" + HEAD + b"\r\n", BadRequest),
    "https without a tunnel": (b"GET https://a.org/ HTTP/1.1" + HEAD + b"\r\n", BadRequest),
    "user in the URL": (b"GET http://u:p@a.org/ HTTP/1.1" + HEAD + b"\r\n", BadRequest),
    "tunnel without a port": (b"CONNECT a.org HTTP/1.1" + HEAD + b"\r\n", BadRequest),
    "tunnel to port 0": (b"CONNECT a.org:0 HTTP/1.1" + HEAD + b"\r\n", BadRequest),
    "tunnel to a look-alike": (
        "CONNECT а.org:443 HTTP/1.1".encode() + HEAD + b"\r\n",
        BadRequest,
    ),
    "tunnel with a body": (
        b"CONNECT a.org:443 HTTP/1.1" + HEAD + b"Content-Length: 3\r\n\r\nabc",
        BadRequest,
    ),
    "WebSocket": (
        b"GET / HTTP/1.1" + HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        EgressRefused,
    ),
    "HTTP/1.0": (b"GET / HTTP/1.0" + HEAD + b"\r\n", VersionUnsupported),
    "long head": (b"GET /" + b"a" * 9000, HeadTooLarge),
    "many headers": (
        b"GET / HTTP/1.1" + HEAD + b"".join(b"X-%d: 1\r\n" % i for i in range(20)) + b"\r\n",
        HeadTooLarge,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("data", "error"), REFUSED.values(), ids=REFUSED)
def test_requests_that_are_refused(data, error):
    with pytest.raises(error) as e:
        head_of(data)
    assert e.value.status in {400, 403, 431, 505}


def test_what_follows_a_request_is_not_passed_on():
    first = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok"
    assert passed(first + b"GET /hub/api/users HTTP/1.1\r\nHost: a\r\n\r\n") == passed(first)


def test_the_first_bytes_of_a_tunnel_are_kept():
    request = reader()
    request.feed(b"CONNECT a.org:443 HTTP/1.0\r\n\r\n\x16\x03\x01")
    assert request.head().tunnel
    assert request.rest == b"\x16\x03\x01"


def test_a_problem_is_seen_by_clients_that_show_the_status_line_only():
    error = EgressRefused("x.org is not\r\namong the hösts.", hint="Ask.")
    head, _, body = problem(error).partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == (
        b"HTTP/1.1 403 Not reachable from here: x.org is not??among the h?sts."
    )
    assert json.loads(body)["hint"] == "Ask."
    assert problem(error, "HEAD").endswith(b"Content-Length: 0\r\nCache-Control: no-store\r\n"
                                           b"Connection: close\r\n\r\n")  # fmt: skip


@pytest.mark.parametrize(
    ("method", "answer", "start", "length", "rest"),
    [
        pytest.param(
            "GET",
            b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 9\r\nX-a: b\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nX-a: b\r\nConnection: close\r\n\r\n",
            9,
            b"abc",
            id="length",
        ),
        pytest.param(
            "GET",
            b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
            None,
            b"1\r\na",
            id="chunked, after an early one",
        ),
        pytest.param(
            "GET",
            b"HTTP/1.0 200 OK\r\n\r\nx",
            b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
            None,
            b"x",
            id="until the end",
        ),
        pytest.param(
            "HEAD",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\n",
            0,
            b"",
            id="HEAD",
        ),
        pytest.param(
            "GET",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nConnection: close\r\n\r\n",
            0,
            b"",
            id="no body by its status",
        ),
    ],
)
def test_answers(method, answer, start, length, rest):
    head = head_of(method.encode() + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
    writer = RequestWriter(head, b"a", b"/")
    writer.end()
    for cut in (1, 12):
        assert RequestWriter(head, b"a", b"/").response(answer[:cut]) is None
    found = writer.response(answer)
    assert (found.start, found.length, found.rest) == (start, length, rest)


# -- whatever comes --

LINES = st.sampled_from(
    [b"GET / HTTP/1.1\r\n", b"POST /a HTTP/1.1\r\n", b"GET http://b.org/ HTTP/1.1\r\n",
     b"CONNECT b.org:443 HTTP/1.1\r\n", b"Host: a\r\n", b"Content-Length: 5\r\n",
     b"Content-Length: 0\r\n", b"Content-Length: +5\r\n", b"Transfer-Encoding: chunked\r\n",
     b"Transfer-Encoding:\tchunked\r\n", b"Transfer-Encoding: identity\r\n", b"\r\n", b"\n",
     b"0\r\n\r\n", b"5\r\nhello\r\n", b"5;a=\"\r\n", b"hello", b"Expect: 100-continue\r\n",
     b"Connection: Content-Length\r\n", b"Connection: Transfer-Encoding, Host\r\n", b" folded\r\n",
     b"FFFFFFFFFFFFFFFFF\r\n", b"\x00", b"X: \xff\r\n"]
)  # fmt: skip
STREAM = st.one_of(
    st.binary(max_size=200),
    st.lists(st.one_of(LINES, st.binary(max_size=8)), max_size=14).map(b"".join),
    st.lists(LINES, max_size=8).map(
        lambda more: b"POST /a HTTP/1.1\r\nHost: a\r\n" + b"".join(more)
    ),
)


@given(STREAM, st.lists(st.integers(1, 60), max_size=8))
@example(
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
    [],
)
@settings(max_examples=600, deadline=None)
def test_whatever_comes_at_most_one_request_goes_on(stream, cuts):
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(stream[at : at + cut])
        at += cut
    pieces = [p for p in [*pieces, stream[at:]] if p]
    try:
        sent = passed(pieces[0] if pieces else b"", pieces[1:])
    except GavipError:
        return
    except h11.LocalProtocolError as e:
        raise AssertionError("what was read could not be written") from e
    except IndexError:
        # the head never ended
        return
    # what an independent reader of the same bytes sees: one request, and nothing after it
    server = h11.Connection(h11.SERVER)
    server.receive_data(sent)
    events = []
    while not isinstance(event := server.next_event(), type) or event is h11.NEED_DATA:
        events.append(event)
        if isinstance(event, h11.EndOfMessage):
            break
        assert event is not h11.NEED_DATA
    assert [type(e) for e in events].count(h11.Request) == 1
    assert server.trailing_data[0] == b""
