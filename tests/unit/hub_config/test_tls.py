"""The certificate of the public address, judged by a TLS client."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from hub_config.parts import StartFailed
from hub_config.tls import ensure_pair

HOST = "gavip.example"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls") / "new"
    assert ensure_pair(folder / "certificate.pem", folder / "key.pem", HOST)
    return folder


def handshake(folder: Path, name: str) -> None:
    """Let a client that trusts the authority talk to a server with the pair, in memory."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    client = ssl.create_default_context(cafile=str(folder / "authority.pem"))
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(down, up, server_hostname=name),
        server.wrap_bio(up, down, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ends[0].version() is not None


@pytest.mark.parametrize("name", [HOST, f"portal.{HOST}", f"avi-{'0' * 32}.{HOST}"])
def test_the_hub_and_every_part_are_trusted(folder: Path, name: str) -> None:
    handshake(folder, name)


@pytest.mark.parametrize("name", ["example", "other.example", f"a.b.{HOST}"])
def test_no_other_name_is(folder: Path, name: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(folder, name)


def test_the_key_is_for_its_owner_and_the_authoritys_is_gone(folder: Path) -> None:
    assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600
    assert {p.name for p in folder.iterdir()} == {"authority.pem", "certificate.pem", "key.pem"}


def test_a_pair_that_is_there_stays(tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    certificate.write_text("the operator's")
    key.write_text("the operator's, too")
    assert not ensure_pair(certificate, key, HOST)
    assert certificate.read_text() == "the operator's"
    assert key.read_text() == "the operator's, too"


@pytest.mark.parametrize("there", ["c.pem", "k.pem"])
def test_half_a_pair_is_an_error_and_stays(there: str, tmp_path: Path) -> None:
    (tmp_path / there).write_text("half")
    with pytest.raises(StartFailed, match="is not"):
        ensure_pair(tmp_path / "c.pem", tmp_path / "k.pem", HOST)
    assert [p.name for p in tmp_path.iterdir()] == [there]
