"""Whether who asks sits at this machine and means it: what stands where there is no login.

The names in Host and Origin are looked at too, since a page of another site could send a browser of
this machine here.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection


def is_loopback(name: str) -> bool:
    """Whether a host's name or address means this machine."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def from_this_machine(connection: HTTPConnection) -> bool:
    """Whether the client, the Host that it names and the Origin that it comes from are here."""
    client = connection.client.host if connection.client else ""
    origin = connection.headers.get("origin")
    names = [urlsplit(f"//{connection.headers.get('host', '')}").hostname or ""]
    if origin is not None:
        names.append(urlsplit(origin).hostname or "")
    return all(is_loopback(name) for name in (client, *names))
