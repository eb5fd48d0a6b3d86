"""Who sits at this machine, and who only says so."""

import pytest
from starlette.requests import Request

from groundshift.loopback import from_this_machine, is_loopback


@pytest.mark.parametrize(
    ("name", "local"),
    [("localhost", True), ("127.0.0.1", True), ("::1", True), ("", False), ("10.0.0.1", False)],
)
def test_loopback(name, local):
    assert is_loopback(name) is local


@pytest.mark.parametrize(
    ("client", "host", "origin", "local"),
    [
        ("127.0.0.1", "localhost:8080", None, True),
        ("::1", "[::1]:8080", "http://localhost:8501", True),
        ("192.0.2.7", "localhost:8080", None, False),
        ("127.0.0.1", "rebound.example", None, False),  # a name that was made to lead here
        ("127.0.0.1", "localhost:8080", "https://elsewhere.example", False),
        ("127.0.0.1", "localhost:8080", "null", False),
        ("127.0.0.1", "", None, False),
    ],
)
def test_client_host_and_origin_must_all_be_here(client, host, origin, local):
    headers = [(b"host", host.encode())] + ([(b"origin", origin.encode())] if origin else [])
    scope = {"type": "http", "client": (client, 40000), "headers": headers}
    assert from_this_machine(Request(scope)) is local
