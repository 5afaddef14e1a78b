"""Notifications of ended jobs: who may be told, how it is signed, and that none is lost."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from gavip_api.errors import InvalidInput
from gavip_api.models import RunResult
from gavip_api.schedules import Delivery, Notification
from gavip_api.slugs import new_id
from jobqueue.services.signing import Signer, kept_key
from jobqueue.services.targets import TargetRefused, Targets

OK = RunResult(ok=True, outputs=("map.png",))

# -- who may be told --


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        pytest.param("https://a.org", "https://a.org/x?y=1", id="host"),
        pytest.param("https://a.org", "https://A.org:443/", id="case and default port"),
        pytest.param("https://*.a.org:8443", "https://x.y.a.org:8443/", id="domain and port"),
        pytest.param("http://a.org", "http://a.org", id="plain http when listed"),
    ],
)
def test_listed_targets(allowed, url):
    Targets([allowed]).check(url)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("https://b.org/", id="other host"),
        pytest.param("http://a.org/", id="other scheme"),
        pytest.param("https://a.org:444/", id="other port"),
        pytest.param("https://a.org.evil.net/", id="listed as a prefix"),
        pytest.param("https://evil-a.org/", id="listed as a suffix"),
        pytest.param("https://a.org@evil.net/", id="listed as a user name"),
        pytest.param("https://user:pw@a.org/", id="password"),
        pytest.param("https://a.org\\@evil.net/", id="backslash"),
        pytest.param("https://a.org#@evil.net/", id="fragment"),
        pytest.param("https://a.org /", id="space"),
        pytest.param("https://a.org\r\nHost: evil/", id="line end"),
        pytest.param("https://а.org/", id="a look-alike letter"),
        pytest.param("https://[::1/", id="broken"),
        pytest.param("file:///etc/passwd", id="file"),
        pytest.param("gopher://a.org/", id="other protocol"),
        pytest.param("a.org", id="no scheme"),
        pytest.param("", id="empty"),
        pytest.param("https://a.org:99999/", id="no such port"),
    ],
)
def test_other_targets_are_refused(url):
    with pytest.raises(InvalidInput):
        Targets(["https://a.org"]).check(url)


@pytest.mark.parametrize(
    ("address", "networks", "fine"),
    [
        pytest.param("93.184.216.34", [], True, id="public"),
        pytest.param("2606:2800:220:1::1", [], True, id="public IPv6"),
        pytest.param("127.0.0.1", [], False, id="loopback"),
        pytest.param("::1", [], False, id="IPv6 loopback"),
        pytest.param("10.0.0.1", [], False, id="private"),
        pytest.param("169.254.169.254", [], False, id="cloud metadata"),
        pytest.param("100.64.0.1", [], False, id="carrier-grade NAT"),
        pytest.param("0.0.0.0", [], False, id="unspecified"),
        pytest.param("224.0.0.1", [], False, id="multicast"),
        pytest.param("255.255.255.255", [], False, id="broadcast"),
        pytest.param("::ffff:127.0.0.1", [], False, id="mapped loopback"),
        pytest.param("64:ff9b::7f00:1", [], False, id="NAT64 of loopback"),
        pytest.param("2002:7f00:1::", [], False, id="6to4 of loopback"),
        pytest.param("fe80::1%eth0", [], False, id="link-local"),
        pytest.param("fd00::1", [], False, id="unique local"),
        pytest.param("10.1.2.3", ["10.1.0.0/16"], True, id="listed network"),
        pytest.param("10.2.2.3", ["10.1.0.0/16"], False, id="beside the listed network"),
    ],
)
async def test_addresses_are_judged(address, networks, fine):
    async def resolver(host, port):
        return ["93.184.216.34", address]

    targets = Targets(["https://a.org"], networks, resolver)
    if fine:
        assert await targets.address("https://a.org/x") == "93.184.216.34"
    else:
        with pytest.raises(TargetRefused, match="not public"):
            await targets.address("https://a.org/x")


async def test_a_name_that_does_not_resolve_is_refused():
    async def resolver(host, port):
        raise OSError("no such name")

    with pytest.raises(TargetRefused, match="cannot be resolved"):
        await Targets(["https://a.org"], (), resolver).address("https://a.org/x")


@pytest.mark.parametrize(
    "entry",
    ["a.org", "https://", "https://a.org/path", "https://*", "https://a.*.org", "ftp://a.org",
     "https://u@a.org"],
)  # fmt: skip
def test_bad_entries_of_the_list_are_refused_at_start(entry):
    with pytest.raises(ValueError, match="is not"):
        Targets([entry])


# -- how it is signed --


def test_the_signature_is_that_of_the_standards_own_example():
    # Standard Webhooks 1.0.0, reference implementations' test vector
    class Fixed(Signer):
        def _of(self, owner):
            return base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    from datetime import datetime, timezone

    headers = Fixed(b"").headers(
        "anyone",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        datetime.fromtimestamp(1614265330, timezone.utc),
        b'{"test": 2432232314}',
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_secrets_differ_by_user_and_stay(tmp_path):
    first, second = Signer(kept_key(tmp_path / "run/key")), Signer(kept_key(tmp_path / "run/key"))
    assert first.secret("alice") == second.secret("alice") != first.secret("bob")
    assert (tmp_path / "run/key").stat().st_mode & 0o777 == 0o600
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["key"]


# -- that none is lost --


class Receiver:
    """A receiver that answers as told and keeps what it got."""

    def __init__(self):
        self.got, self.answers = [], []

        class Handler(RequestHandler):
            def post(handler):  # noqa: N805
                self.got.append((dict(handler.request.headers), handler.request.body))
                status = self.answers.pop(0) if self.answers else 204
                handler.set_status(status)
                if status == 302:
                    handler.set_header("Location", "/elsewhere")

        self.server = HTTPServer(Application([(r"/.*", Handler)]))
        socket, self.port = bind_unused_port()
        self.server.add_socket(socket)
        self.base = f"http://localhost:{self.port}"
        self.url = f"{self.base}/hook?a=1"

    async def close(self):
        self.server.stop()
        await self.server.close_all_connections()


@pytest.fixture
async def receiver():
    receiver = Receiver()
    yield receiver
    await receiver.close()


@pytest.fixture
def options(receiver):
    return {
        "hook_targets": [receiver.base],
        "hook_networks": ["127.0.0.0/8", "::1/128"],
        "hook_first_pause": 0.02,
        "hook_tries": 3,
    }


async def submit(service, payload, receiver, **hook):
    hooks = [{"url": receiver.url} | hook]
    r = await service.client.post("jobs", json=payload() | {"hooks": hooks})
    assert r.status_code == 201, r.text
    job_id = r.json()["id"]
    await service.reach(job_id, "running")
    return job_id


async def delivery(service, job_id, *states):
    async def there():
        items = (await service.client.get(f"jobs/{job_id}/hooks")).json()["items"]
        found = Delivery.model_validate(items[0])
        return found if found.state in states else None

    return await service.until(there, f"{states}")


async def test_a_receiver_is_told_once_and_can_check_who_told(start, payload, receiver, options):
    service = await start(**options)
    job_id = await submit(service, payload, receiver)
    assert (await delivery(service, job_id, "waiting")).tries == 0
    await service.plane.end(f"job-{job_id}.1", OK)
    told = await delivery(service, job_id, "delivered")
    assert (told.tries, told.status) == (1, 204)
    [(headers, body)] = receiver.got
    assert headers["Host"] == f"localhost:{receiver.port}"
    notification = Notification.model_validate_json(body)
    assert notification.type == "job.succeeded"
    assert notification.data["id"] == job_id
    assert notification.data["outputs"] == ["map.png"]
    assert abs(time.time() - int(headers["Webhook-Timestamp"])) < 60
    secret = (await service.client.get("hooks/alice/secret")).json()["secret"]
    signed = f"{headers['Webhook-Id']}.{headers['Webhook-Timestamp']}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["Webhook-Signature"] == f"v1,{digest}"


@pytest.mark.parametrize(
    ("answers", "state", "tries", "text"),
    [
        pytest.param([500, 503], "delivered", 3, "", id="busy twice"),
        pytest.param([500] * 9, "failed", 3, "answered 500", id="broken"),
        pytest.param([302] * 9, "failed", 3, "redirects", id="redirects are not followed"),
        pytest.param([410], "failed", 1, "answered 410", id="gone"),
    ],
)
async def test_tries_are_bounded_and_visible(
    start, payload, receiver, options, answers, state, tries, text
):
    service = await start(**options)
    receiver.answers = list(answers)
    job_id = await submit(service, payload, receiver)
    await service.plane.end(f"job-{job_id}.1", OK)
    told = await delivery(service, job_id, "delivered", "failed")
    assert (told.state, told.tries, len(receiver.got)) == (state, tries, tries)
    assert text in told.message
    assert len({headers["Webhook-Id"] for headers, _ in receiver.got}) == 1


async def test_only_the_states_that_were_asked_for(start, payload, receiver, options):
    service = await start(**options)
    job_id = await submit(service, payload, receiver, states=["failed"])
    await service.plane.end(f"job-{job_id}.1", OK)
    await delivery(service, job_id, "not-wanted")
    assert receiver.got == []


async def test_a_restart_delivers_what_was_pending(start, payload, receiver, options):
    service = await start(**(options | {"hook_first_pause": 0.5}))
    receiver.answers = [500]
    job_id = await submit(service, payload, receiver)
    await service.plane.end(f"job-{job_id}.1", OK)

    async def tried_once():
        return (await delivery(service, job_id, "pending")).tries == 1

    await service.until(tried_once)
    plane = service.plane
    await start.stop(service)
    service = await start(plane, **options)
    assert (await delivery(service, job_id, "delivered")).tries == 2


async def test_a_target_that_is_no_longer_allowed_is_not_called(start, payload, receiver, options):
    service = await start(**options)
    job_id = await submit(service, payload, receiver)
    plane = service.plane
    await start.stop(service)
    service = await start(plane, **(options | {"hook_networks": []}))
    await plane.end(f"job-{job_id}.1", OK)
    told = await delivery(service, job_id, "failed")
    assert "not public" in told.message
    assert receiver.got == []


async def test_targets_that_are_not_listed_are_refused_at_submission(service, payload):
    hooks = [{"url": "https://internal.example/x"}]
    r = await service.client.post("jobs", json=payload() | {"hooks": hooks})
    assert (r.status_code, r.json()["code"]) == (422, "invalid-input")
    assert "hook_targets" in r.json()["hint"]
    assert (await service.client.get("jobs")).json()["items"] == []


async def test_a_state_that_is_not_final_is_no_reason_to_tell(start, payload, receiver, options):
    service = await start(**options)
    hooks = [{"url": receiver.url, "states": ["running"]}]
    r = await service.client.post("jobs", json=payload() | {"hooks": hooks})
    assert r.status_code == 422
    assert "final" in json.dumps(r.json())


async def test_a_retry_tells_the_same_receivers(start, payload, receiver, options):
    service = await start(**options)
    job_id = await submit(service, payload, receiver)
    await service.plane.end(f"job-{job_id}.1", RunResult(ok=False), exit_code=1)
    await delivery(service, job_id, "delivered")
    again = (await service.client.post(f"jobs/{job_id}/retry")).json()["id"]
    assert (await delivery(service, again, "waiting")).url == receiver.url


async def test_notifications_of_unknown_jobs(service):
    assert (await service.client.get(f"jobs/{new_id()}/hooks")).status_code == 404
