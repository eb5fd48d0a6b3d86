"""Requests to addresses that users name: only to public hosts, unless a setting allows others.

The address that was checked is the one that is called, so that a name that changes its mind
between the two opens nothing; redirects are not followed.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import httpx

from groundshift.errors import BadRequest, Unavailable

_TIMEOUT_S: Final = 10.0
_PORTS: Final = {"https": 443, "http": 80}

Resolve = Callable[[str, int], Sequence[str]]
"""The IP addresses of (host, port). Raises OSError."""


def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def check_url(url: str, *, private: bool) -> tuple[str, int]:
    """(Host, port) of an address that may be called. Raises BadRequest.

    `private`: whether plain http and private hosts are allowed.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise BadRequest(
            f"{url!r:.120} is no address ({error}): write https://host/path"
        ) from error
    schemes = ("https", "http") if private else ("https",)
    if parts.scheme not in schemes or not host or parts.username or not url.isascii():
        raise BadRequest(
            f"{url!r:.120}: write {' or '.join(schemes)}://host/path, without a user name"
        )
    if not private and not _public_name(host):
        raise BadRequest(
            f"{host!r} is this machine's or a private address: name a public host, or start the "
            "platform with GROUNDSHIFT_WEBHOOK_PRIVATE=true"
        )
    return host, port


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    private: bool,
    resolve: Resolve = resolve,
) -> int:
    """POST to a checked address; the status of the answer.

    Raises BadRequest where the host is none that may be called, Unavailable where it did not
    answer.
    """
    host, port = check_url(url, private=private)
    try:
        found = resolve(host, port)
    except OSError as error:
        raise Unavailable(f"{host!r} has no address ({error}): check the name") from error
    bad = [ip for ip in found if not private and not _public(ip)]
    if bad or not found:
        raise BadRequest(f"{host!r} leads to {', '.join(bad) or 'nowhere'}, which is not public")
    return _send(url, host, found[0], body, headers)


def _send(url: str, host: str, ip: str, body: bytes, headers: Mapping[str, str]) -> int:
    target = httpx.URL(url).copy_with(host=ip)
    named = {**headers, "Host": httpx.URL(url).netloc.decode()}
    try:
        with httpx.Client(timeout=_TIMEOUT_S, trust_env=False) as client:
            request = client.build_request(
                "POST", target, content=body, headers=named, extensions={"sni_hostname": host}
            )
            answer = client.send(request, stream=True)  # what it says back is not read
            answer.close()
    except httpx.HTTPError as error:
        raise Unavailable(f"{host!r} did not answer ({type(error).__name__}: {error})") from error
    return answer.status_code


def _public_name(host: str) -> bool:
    try:
        return _public(host)
    except ValueError:
        return "." in host.rstrip(".") and not host.rstrip(".").endswith((".local", ".internal"))


def _public(ip: str) -> bool:
    """Raises ValueError for what is no IP address."""
    address = ipaddress.ip_address(ip.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return address.is_global and not address.is_multicast
