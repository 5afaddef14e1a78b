"""A hostile AVI in a real browser: what its page tries against the person who opened it, and that none of it works.

Every attack runs where Voilà serves it (``page``) and, unless it is about the page's own policy, at the same time on a
page of a sibling host without any policy (``bare``): what protects others must not depend on the AVI's headers. Harm is
judged by the platform's own records, the browser's state and an attacker's listener; controls show that they notice.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from gavip_portal.app import make_api
from tests.support import hostile_avi
from tests.support.attacker import Attacker, listening
from tests.support.contained import isolating_platform
from tests.support.hostile_avi import KIT
from tests.support.running import RunningPlatform
from tests.support.victim import Victim

pytestmark = pytest.mark.browser

SECRET = "my-secret.txt"
GRACE = 2.0
"""Seconds in which what leaves a browser arrives at the listener; the controls hold it to that."""


@dataclass
class Scene:
    """The victim, their browser, the hostile AVI in it, and the attacker outside."""

    victim: Victim
    attacker: Attacker
    page: Page
    avi: dict[str, Any]
    other: dict[str, Any]
    other_page: Page
    sibling: str
    facts: dict[str, Any] = field(default_factory=dict)
    downloads: list[str] = field(default_factory=list)

    def note_downloads(self, page: Page) -> None:
        page.on("download", lambda download: self.downloads.append(download.url))

    @property
    def context(self) -> BrowserContext:
        return self.victim.context

    @property
    def own(self) -> str:
        return str(self.avi["url"])

    def bare(self) -> Page:
        """Return a page of a sibling sub-domain that comes without any policy."""
        page = self.context.new_page()
        page.goto(self.sibling)
        return page

    def light(self) -> Page:
        """Return a small page of the AVI's own server, with the policy that it sends with everything."""
        page = self.context.new_page()
        page.goto(self.own + "nothing-here")
        page.evaluate(KIT)
        return page

    def tidy(self) -> None:
        """Close what an attack opened, and take its cookies away."""
        for page in self.context.pages:
            if page not in (self.page, self.other_page, self.victim.page):
                page.close()
        self.context.clear_cookies(domain=re.compile(r"^\."))
        self.page.evaluate("document.querySelectorAll('iframe').forEach(frame => frame.remove())")


@pytest.fixture(scope="module")
def attacker() -> Iterator[Attacker]:
    with listening(KIT) as attacker:
        yield attacker


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    folder = tmp_path_factory.mktemp("hostile")
    avis = hostile_avi.make(folder / "made")
    with isolating_platform(
        folder, avis, name="thostile", subnet="10.220.0.0/24", archive="http://127.0.0.1:9/tap"
    ) as running:
        yield running


@pytest.fixture(scope="module")
def scene(browser: Browser, platform: RunningPlatform, attacker: Attacker) -> Iterator[Scene]:
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    context.set_default_timeout(30_000)
    victim = Victim(platform, context, "alice", context.new_page())
    victim.sign_in()
    platform.userspace("alice").mkdir(parents=True, exist_ok=True)
    (platform.userspace("alice") / SECRET).write_text("the secret of alice")
    avi, other = victim.open_avi("hostile"), victim.open_avi("other")
    page, other_page = context.new_page(), context.new_page()
    for opened, found in ((page, avi), (other_page, other)):
        opened.goto(found["url"])
        expect(opened.get_by_role("button", name="Count")).to_be_visible(timeout=60_000)
    host = f"sibling.{urlsplit(platform.url).netloc}"
    routed(platform, host.partition(":")[0], attacker)
    scene = Scene(victim, attacker, page, avi, other, other_page, f"http://{host}/")
    scene.facts = facts(scene, browser)
    scene.note_downloads(page)
    context.on("page", lambda opened: scene.note_downloads(opened))
    yield scene
    context.close()


def routed(platform: RunningPlatform, routespec: str, attacker: Attacker) -> None:
    """Let the proxy lead an address of the platform to the attacker's machine.

    Answering in the browser's stead would not do: Chromium takes such pages for public ones, which may not reach
    loopback (Local Network Access), and so would block the attacks itself.
    """
    facts = platform.facts
    answer = httpx.post(
        f"http://127.0.0.1:{facts.proxy_api_port}/api/routes/{routespec}",
        json={"target": attacker.url.replace("attacker.localhost", "127.0.0.1")},
        headers={"Authorization": f"token {facts.proxy_token}"},
        trust_env=False,
    )
    assert answer.status_code == 201


def facts(scene: Scene, browser: Browser) -> dict[str, Any]:
    """Return what the hostile page is told, which is more than it could find out by itself."""
    platform = scene.victim.platform
    theirs = browser.new_context()
    bob = Victim(platform, theirs, "bob", theirs.new_page())
    bob.sign_in()
    agent = bob.page.evaluate("navigator.userAgent")
    cookies = {c["name"]: c["value"] for c in theirs.cookies(f"{platform.url}/hub/")}
    theirs.close()
    # a sign-in page's token as anybody with the same address and browser gets it
    page = httpx.get(
        f"http://127.0.0.1:{platform.port}/hub/login",
        headers={"Host": urlsplit(platform.url).netloc, "User-Agent": agent},
        trust_env=False,
    )
    xsrf = re.search(r'name="_xsrf" value="([^"]+)"', page.text)
    assert xsrf is not None
    changing = [
        (
            method.upper(),
            platform.portal + "api/v1" + re.sub(r"\{instance\}", scene.other["id"], path),
        )
        for path, methods in make_api().document("")["paths"].items()
        for method in methods
        if method in ("post", "put", "patch", "delete")
    ]
    return {
        "hub": platform.url,
        "domain": urlsplit(platform.url).hostname,
        "portal": platform.portal,
        "lab": scene.victim.lab,
        "owner": "alice",
        "own": scene.own,
        "other": scene.other["url"],
        "otherId": scene.other["id"],
        "otherUser": urlsplit(scene.other["url"]).path.split("/")[2],
        "otherKernel": _kernel(scene.other_page),
        "listener": scene.attacker.url,
        "secret": SECRET,
        "changing": changing,
        "attacker": {
            "username": "bob",
            "password": platform.passwords["bob"],
            "xsrf": xsrf[1],
            "cookies": cookies,
            "login": cookies["__Host-jupyterhub-hub-login"],
        },
    }


def _kernel(page: Page) -> str:
    found = re.search(r'"kernelId": "([0-9a-f-]{36})"', page.content())
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def lab(scene: Scene) -> None:
    """The victim's JupyterLab, with a terminal and a kernel."""
    page = scene.context.new_page()
    page.goto(f"{scene.victim.platform.url}/hub/spawn")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(re.compile(r"http://alice\..*/lab"), timeout=60_000)
    made = page.evaluate(
        """async (base) => {
          const token = document.cookie.match(/(?:^|; )_xsrf=([^;]*)/)[1]
          const post = (path, body) => fetch(base + path, {method: 'POST', body, headers: {'X-XSRFToken': token}})
            .then(answer => answer.json())
          return [(await post('api/terminals', '{}')).name, (await post('api/kernels', '{}')).id]
        }""",
        scene.victim.lab,
    )
    scene.facts["terminal"], scene.facts["kernel"] = made
    page.goto("about:blank")
    page.close()


# -- what must not happen, seen where it would --

ALIVE = """([base, kernel]) => {
  const token = document.cookie.match(/(?:^|; )_xsrf=([^;]*)/)[1]
  return fetch(`${base}api/kernels/${kernel}`, {headers: {'X-XSRFToken': token}}).then(answer => answer.status)
}"""


def traces(scene: Scene, page: Page, marker: str) -> list[str]:
    """Return in words what an attack with a marker left in the browser or at the listener."""
    found = ["the listener heard of it"] if scene.attacker.heard(marker) else []
    for opened in scene.context.pages:
        parts = urlsplit(opened.url)
        hub = urlsplit(scene.victim.platform.url)
        if marker in parts.path and parts.hostname != hub.hostname:
            found.append(f"a window ended at {opened.url}")
    frame = page.frame(name=marker)
    if frame is not None and not frame.url.startswith("chrome-error:"):
        found.append(f"a frame shows {frame.url}")
    return found


def harm(scene: Scene, name: str, before: dict[str, Any], markers: dict[str, str]) -> list[str]:
    """Return in words what an attack changed."""
    after = scene.victim.belongings()
    done = [f"{k}: {before[k]} became {after[k]}" for k in before if before[k] != after[k]]
    done += [f"downloaded {url}" for url in scene.downloads]
    done += [f"service worker {worker.url}" for worker in scene.context.service_workers]
    kernel = [scene.facts["other"], scene.facts["otherKernel"]]
    if (status := scene.other_page.evaluate(ALIVE, kernel)) != 200:
        done.append(f"the other AVI's kernel answers {status}")
    return done + (AFTERMATH[name](scene, markers) if name in AFTERMATH else [])


def still_alice(scene: Scene, markers: dict[str, str]) -> list[str]:
    found = scene.victim.who_am_i()
    return [] if found == ("alice", "alice") else [f"the browser is now signed in as {found}"]


def still_works(scene: Scene, markers: dict[str, str]) -> list[str]:
    """Whether the victim can go on: forms of the portal and a new sign-in of the portal at the hub."""
    victim = scene.victim
    victim.page.goto(victim.platform.portal)
    answer = victim.api("POST", "jobs", {"avi": "gavip/none", "pipeline": "none"})
    faults = [] if answer["status"] == 404 else [f"the portal refuses the victim: {answer}"]
    scene.context.clear_cookies(name="__Host-service-portal")
    faults += still_alice(scene, markers)
    victim.page.goto(victim.platform.portal)
    if victim.sessions() & set(markers.values()):
        faults.append("the hub works with the session that the attacker chose")
    return faults


AFTERMATH = {
    "sign_out_by_link": still_alice,
    "sign_in_as_attacker_by_form": still_alice,
    "toss_the_attackers_session": still_works,
    "fix_a_session": still_works,
    "break_xsrf_tokens": still_works,
}

FIRST = ("start_lab_by_link",)
"""While the victim's JupyterLab does not run yet."""

IN_LAB = (
    "script_lab_by_popup", "hijack_lab_terminal", "hijack_lab_kernel", "frame_lab",
    "post_urlencoded_forms", "post_multipart_forms", "post_text_forms", "read_across_origins",
)  # fmt: skip
"""While it runs."""

REST = (
    "script_portal_by_popup", "script_hub_by_popup", "relax_document_domain", "sign_out_by_link",
    "redirect_by_login_next", "mint_token_by_fetch", "mint_token_by_form", "sign_in_as_attacker_by_form",
    "read_portal_by_fetch", "open_another_avi", "stop_other_instances", "call_every_changing_route",
    "shut_down_anothers_kernel", "hijack_anothers_kernel", "download_the_users_files", "frame_the_portal",
    "frame_the_sign_in", "frame_the_tokens", "frame_another_avi", "toss_the_attackers_session", "fix_a_session",
    "break_xsrf_tokens", "read_the_platforms_cookies", "reach_others_by_path",
)  # fmt: skip


def attack(scene: Scene, name: str, *, bare: bool = True) -> None:
    scene.downloads.clear()
    pages = {"page": scene.page} | ({"bare": scene.bare()} if bare else {})
    markers = {where: f"{name.replace('_', '-')}-{where}-{time.monotonic_ns()}" for where in pages}
    before = scene.victim.belongings()
    try:
        # at once, for an attack is mostly waiting for what it set off
        for where, page in pages.items():
            told = [name, scene.facts | {"marker": markers[where]}]
            page.evaluate("([name, scene]) => hostile.begin(name, scene)", told)
        achieved = []
        for where, page in pages.items():
            if got := page.evaluate("hostile.result"):
                achieved.append(f"{where}: got hold of {got}")
            achieved += [f"{where}: {what}" for what in traces(scene, page, markers[where])]
        achieved += harm(scene, name, before, markers)
    finally:
        scene.tidy()
    assert achieved == []


@pytest.mark.parametrize("name", FIRST)
def test_attack_without_lab(scene: Scene, name: str) -> None:
    assert ("alice",) not in scene.victim.belongings()["servers"]
    attack(scene, name)


@pytest.mark.parametrize("name", IN_LAB)
@pytest.mark.usefixtures("lab")
def test_attack_on_lab(scene: Scene, name: str) -> None:
    attack(scene, name)


@pytest.mark.parametrize("name", REST)
def test_attack(scene: Scene, name: str) -> None:
    attack(scene, name)


def test_register_a_service_worker(scene: Scene) -> None:
    attack(scene, "register_a_service_worker", bare=False)


def test_no_opener_for_an_avi(scene: Scene) -> None:
    with scene.context.expect_page() as opened:
        scene.victim.page.evaluate(f"void window.open('{scene.own}nothing-here')")
    page = opened.value
    page.wait_for_load_state()
    assert page.url.startswith(scene.own)
    assert page.evaluate("window.opener") is None
    scene.tidy()


def embedding(scene: Scene) -> Page:
    """Return a page of the portal's origin that shows the AVI in a frame, as a dashboard does."""
    address = f"{scene.victim.platform.portal}dashboard-of-the-test"
    parts = urlsplit(address)
    scene.attacker.pages[parts.path] = (
        f"<!doctype html><title>Dashboard</title><iframe name=avi src='{scene.own}nothing-here'></iframe>"
    )
    routed(scene.victim.platform, f"{parts.hostname}{parts.path}", scene.attacker)
    page = scene.context.new_page()
    page.goto(address)
    return page


def test_message_the_embedding_page(scene: Scene) -> None:
    page = embedding(scene)
    frame = page.frame(name="avi")
    assert frame is not None
    frame.wait_for_load_state()
    frame.evaluate(KIT)
    before, address = scene.victim.belongings(), page.url
    marker = f"message-{time.monotonic_ns()}"
    got = frame.evaluate(
        "scene => hostile.attack('message_the_embedding_page', scene)",
        scene.facts | {"marker": marker},
    )
    assert got == ""
    assert page.url == address
    assert not scene.attacker.heard(marker)
    assert scene.victim.belongings() == before
    scene.tidy()


@pytest.mark.parametrize("when", ["while-it-runs", "of-no-instance"])
def test_no_sign_in_form_on_an_avis_host(scene: Scene, when: str) -> None:
    host = urlsplit(scene.own).netloc
    if when == "of-no-instance":
        host = f"avi-{'0' * 32}.{urlsplit(scene.victim.platform.url).netloc}"
    page = scene.context.new_page()
    for path in (
        "/hub/login",
        "/hub/login?next=/hub/home",
        "/",
        "/hub/",
        "//hub/login",
        "/user/alice/lab",
    ):
        answer = page.goto(f"http://{host}{path}")
        assert answer is not None
        assert answer.status == 404, path
        assert "set-cookie" not in answer.headers
        assert page.locator("form, input, script").count() == 0
        assert page.get_by_role("link").get_attribute("href") == scene.victim.platform.portal
    scene.tidy()


# -- ways out --

NAVIGATING = {
    "form_get",
    "form_post",
    "popup",
    "popup_of_a_popup",
    "refresh",
    "navigation",
    "speculation",
}
WAYS = tuple(re.findall(r"^    (\w+): \(?(?:async )?\(?u\)", KIT, re.MULTILINE))


def leave(page: Page, way: str, url: str) -> None:
    page.evaluate("([way, url]) => hostile.leave(way, url)", [way, url])


@pytest.fixture(scope="module")
def control(browser: Browser, attacker: Attacker) -> Attacker:
    """Every way out taken from the attacker's own page, which no policy restricts."""
    context = browser.new_context()
    for way in WAYS:
        page = context.new_page()
        page.goto(attacker.url)
        leave(page, way, attacker.stun if way == "stun" else f"{attacker.url}/control-{way}/")
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline and not all(map(attacker.heard, WAYS)):
        page.wait_for_timeout(100)
    context.close()
    return attacker


@pytest.mark.parametrize("way", WAYS)
def test_the_listener_hears(control: Attacker, way: str) -> None:
    assert control.packets > 0 if way == "stun" else control.heard(f"control-{way}/")


@pytest.fixture(scope="module")
def left(scene: Scene, control: Attacker) -> dict[str, bool]:
    """Every way out taken by the AVI; what the listener heard of each."""
    packets = control.packets
    for way in WAYS:
        page = scene.light() if way in NAVIGATING else scene.page
        leave(page, way, control.stun if way == "stun" else f"{control.url}/avi-{way}/")
    scene.page.wait_for_timeout(GRACE * 1000)
    heard = {way: control.heard(f"avi-{way}/") for way in WAYS}
    heard["stun"] = control.packets > packets
    scene.tidy()
    return heard


@pytest.mark.parametrize("way", WAYS)
def test_no_way_out(left: dict[str, bool], way: str) -> None:
    assert not left[way]


# -- what the observers see when something does happen --


def test_observers_see_what_the_victim_does(scene: Scene) -> None:
    victim = scene.victim
    before = victim.belongings()
    third = victim.open_avi("third")
    (victim.platform.userspace("alice") / "marker").write_text("")
    page = scene.context.new_page()
    page.goto(f"{victim.platform.url}/hub/token")
    made = page.evaluate(
        """fetch('/hub/api/users/alice/tokens', {method: 'POST', body: '{"note": "mine"}', headers:
             {'X-XSRFToken': jhdata.xsrf_token, 'Content-Type': 'application/json'}}).then(made => made.status)"""
    )
    assert made == 201
    after = victim.belongings()
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"tokens", "users", "servers", "shares", "instances", "files"}
    (victim.platform.userspace("alice") / "marker").unlink()
    assert victim.api("DELETE", f"instances/{third['id']}")["status"] == 204
    scene.tidy()


def test_the_frame_observer_sees_a_frame(scene: Scene) -> None:
    page = embedding(scene)
    frame = page.frame(name="avi")
    assert frame is not None
    assert frame.url.startswith(scene.own)
    scene.tidy()


# -- and honest pages work --


def test_widgets_still_work(scene: Scene) -> None:
    scene.page.reload()
    scene.page.get_by_role("button", name="Count").click(timeout=60_000)
    expect(scene.page.get_by_text("pressed 1")).to_be_visible()
    slider = scene.page.get_by_role("slider")
    slider.focus()
    slider.press("ArrowRight")
    expect(scene.page.get_by_text("16", exact=True)).to_be_visible()


def test_no_cookie_of_hub_or_portal_is_sent_to_an_avi(scene: Scene) -> None:
    names = {cookie["name"] for cookie in scene.context.cookies(scene.own)}
    user = urlsplit(scene.own).path.split("/")[2]
    # its own session, its own tokens of sign-ins that were not finished, its own XSRF token
    assert {n for n in names if not n.startswith(f"__Host-jupyterhub-user-{user}")} <= {"_xsrf"}


def test_sign_out_by_the_person_still_takes_one_click(scene: Scene) -> None:
    victim = scene.victim
    victim.page.goto(victim.platform.portal)
    victim.page.get_by_role("link", name="Sign out").click()
    victim.page.get_by_label("Username").wait_for()
    # at once, although services believe the hub for half a minute
    assert victim.ask(f"{victim.platform.portal}api/v1/users/me").status_code == 401
