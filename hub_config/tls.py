"""The certificate of the public address: the operator's, or a self-signed one until there is one.

Owns what a self-signed certificate holds. Invariants: a pair that is there is never replaced; the key
is readable by its owner only; half a pair is an error, for one half was meant for something.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from .parts import StartFailed

YEARS = 2
"""Some browsers refuse certificates that are good for more than 825 days."""


def ensure_pair(certificate: Path, key: Path, host: str) -> bool:
    """Make a self-signed certificate unless there is one; return whether one was made.

    Parameters
    ----------
    certificate, key : Path
        PEM files. The certificate's authority is written beside it, as ``authority.pem``: people who
        trust that in their browser are asked no questions.
    host : str
        Domain of the hub. Every other part is a sub-domain one level below it, so the certificate is for
        `host` and ``*.host`` (RFC 6125, section 6.4.3: a wildcard stands for one label).

    Raises
    ------
    StartFailed
        If only one of the two is there.
    """
    found = [path for path in (certificate, key) if path.exists()]
    if len(found) == 1:
        missing = key if found[0] == certificate else certificate
        raise StartFailed(
            f"{found[0]} is there, and {missing} is not.\n"
            "Put both the certificate (with its chain) and its key there, or remove both: then a\n"
            "self-signed certificate is made."
        )
    if found:
        return False
    # only here: it takes a while, and most starts find a certificate
    from certipy import Certipy

    certificate.parent.mkdir(parents=True, exist_ok=True)
    key.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=key.parent) as scratch:
        maker = Certipy(store_dir=scratch)
        # the authority's key ends with this folder: nobody signs anything else with it
        authority = maker.create_ca("GAVIP authority", years=YEARS)
        names = [f"DNS:{host}", f"DNS:*.{host}"]
        made = maker.create_signed_pair("GAVIP", "GAVIP authority", years=YEARS, alt_names=names)
        shutil.move(authority["files"]["cert"], certificate.parent / "authority.pem")
        # the key first: a certificate without its key would pass for half a pair of the operator's
        shutil.move(made["files"]["key"], key)
        shutil.move(made["files"]["cert"], certificate)
    key.chmod(0o600)
    return True
