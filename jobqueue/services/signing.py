"""Signatures of notifications: Standard Webhooks 1.0.0, "Signature scheme", with HMAC-SHA256 (RFC 2104).

Invariant: each user has a secret of their own, derived from the service's key, so that a receiver
can check its own user's notifications and forge nobody else's.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import secrets
from datetime import datetime
from pathlib import Path

KEY_BYTES = 32


class Signer:
    """Signs for users.

    Parameters
    ----------
    key : bytes
        The service's key.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def _of(self, owner: str) -> bytes:
        return hmac.new(self._key, b"gavip-hook\0" + owner.encode(), hashlib.sha256).digest()

    def secret(self, owner: str) -> str:
        """Return a user's secret in the form that receivers' libraries take."""
        return "whsec_" + base64.b64encode(self._of(owner)).decode()

    def headers(self, owner: str, message: str, when: datetime, body: bytes) -> dict[str, str]:
        """Return the three headers of a notification.

        Parameters
        ----------
        owner : str
            Whose secret signs.
        message : str
            Id of the notification, the same in every try.
        when : datetime
            Time of the try; receivers refuse old ones.
        body : bytes
            As sent.
        """
        stamp = str(int(when.timestamp()))
        signed = f"{message}.{stamp}.".encode() + body
        digest = hmac.new(self._of(owner), signed, hashlib.sha256).digest()
        return {
            "webhook-id": message,
            "webhook-timestamp": stamp,
            "webhook-signature": "v1," + base64.b64encode(digest).decode(),
        }


def kept_key(path: Path) -> bytes:
    """Return the key in `path`, made there (0600) at first; two services that start at once agree on one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        os.link(temporary, path)
    temporary.unlink()
    return path.read_bytes()
