"""Demo accounts: one per role, with random passwords that are shown once and stored as salted scrypt hashes.

Invariant: the file is written atomically, mode 0600, and never holds a password.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from pathlib import Path
from typing import Any

from gavip_api.enums import Role

DEMO_USERS: dict[str, tuple[Role, ...]] = {
    "olivia": (Role.OPERATOR, Role.SCIENTIST),
    "dev": (Role.DEVELOPER, Role.SCIENTIST),
    "alice": (Role.SCIENTIST,),
    "bob": (Role.SCIENTIST,),
    "school": (Role.OUTREACH,),
}
"""Name and roles of each demo account; anonymous visitors need none."""

_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"


def _hash(password: str, salt: bytes) -> str:
    # cost parameters: RFC 7914, section 2 (N=2^14, r=8, p=1: 16 MiB)
    return hashlib.scrypt(password.encode(), salt=salt, n=1 << 14, r=8, p=1).hex()


class Accounts:
    """The accounts file.

    Parameters
    ----------
    path : Path
        Where it is, or will be.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def exist(self) -> bool:
        """Whether accounts were created already."""
        return self._path.exists()

    def create(self) -> dict[str, str]:
        """Create (or recreate) all demo accounts; return their passwords, which are stored nowhere."""
        passwords = {
            name: "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(3))
            for name in DEMO_USERS
        }
        body: dict[str, Any] = {}
        for name, password in passwords.items():
            salt = secrets.token_bytes(16)
            body[name] = {
                "roles": [r.value for r in DEMO_USERS[name]],
                "salt": salt.hex(),
                "hash": _hash(password, salt),
            }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".new")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump(body, file, indent=1)
        temporary.replace(self._path)
        return passwords

    def check(self, name: str, password: str) -> list[str] | None:
        """Return the roles of `name` when the password is right, else None; takes equally long either way."""
        body = json.loads(self._path.read_text()) if self.exist else {}
        entry = body.get(name)
        salt = bytes.fromhex(entry["salt"]) if entry else b"\0" * 16
        given = _hash(password, salt)
        expected = entry["hash"] if entry else "0" * len(given)
        return list(entry["roles"]) if hmac.compare_digest(given, expected) and entry else None
