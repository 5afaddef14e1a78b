"""Which hosts a list covers, and which addresses may be called for somebody else.

Shared by whatever connects where users say: notifications of jobs, the gateway of containers. Invariants: an
address is judged by what it leads to in the end, whatever its clothing; all addresses of a name must pass, so
that nobody reaches the platform's own services through us (server-side request forgery, OWASP ASVS 5.2.6).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def covers(pattern: str, host: str) -> bool:
    """Whether a pattern, ``host`` or ``*.domain``, stands for a host name.

    A domain does not cover itself. Both in lower case.
    """
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and host != pattern[2:]
    return host == pattern


def may_call(address: Address, networks: Iterable[Network] = ()) -> bool:
    """Whether an address is on the public internet, or in one of `networks`.

    Private, loopback, link-local (where clouds keep their metadata), shared (RFC 6598), multicast and reserved
    ones are not public.
    """
    listed = list(networks)
    if any(address.version == n.version and address in n for n in listed):
        return True
    if isinstance(address, ipaddress.IPv6Address):
        # an IPv4 address in IPv6 clothing is judged by what it leads to
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return may_call(inner, listed)
    return address.is_global and not address.is_multicast


def all_may_be_called(addresses: Sequence[str], networks: Iterable[Network] = ()) -> bool:
    """Whether each of the addresses of one name passes :func:`may_call`; there must be one."""
    listed = list(networks)
    return bool(addresses) and all(
        may_call(ipaddress.ip_address(text.partition("%")[0]), listed) for text in addresses
    )
