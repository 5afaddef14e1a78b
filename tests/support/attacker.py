"""The attacker's own machine: a listener on loopback that notes whatever a victim's browser sends it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Attacker:
    """What arrived.

    Attributes
    ----------
    pages : dict of str to str
        HTML that it serves, by path.
    paths : list of str
        Of HTTP requests, WebSocket handshakes included.
    packets : int
        UDP packets to the STUN port.
    """

    url: str = ""
    stun: str = ""
    pages: dict[str, str] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)
    packets: int = 0

    def heard(self, marker: str) -> bool:
        """Whether a request with `marker` in its path arrived."""
        return any(marker in path for path in self.paths)


def _handler(attacker: Attacker) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            attacker.paths.append(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(length)
            page = attacker.pages.get(self.path)
            body = page or "ok"
            self.send_response(200)
            self.send_header("Content-Type", "text/html" if page else "text/plain")
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_HEAD = _answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    return Handler


@contextlib.contextmanager
def listening(kit: str) -> Iterator[Attacker]:
    """Listen; `kit` is the script of the attacker's own page, from which every way out must work (the control)."""
    attacker = Attacker(pages={"/": f"<!doctype html><body><script>{kit}</script>"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(attacker))
    server.daemon_threads = True
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    attacker.url = f"http://attacker.localhost:{server.server_port}"
    attacker.stun = f"stun:127.0.0.1:{udp.getsockname()[1]}"

    def count_packets() -> None:
        with contextlib.suppress(OSError):
            while udp.recv(4096):
                attacker.packets += 1

    for work in (server.serve_forever, count_packets):
        threading.Thread(target=work, daemon=True).start()
    try:
        yield attacker
    finally:
        server.shutdown()
        server.server_close()
        # shut down first: closing alone does not end a recv() of another thread
        with contextlib.suppress(OSError):
            udp.shutdown(socket.SHUT_RDWR)
        udp.close()
