"""`groundshift dashboard` before it serves."""

from __future__ import annotations

from typing import Any

import pytest

from functions.commands.dashboard import dashboard
from groundshift.errors import Misconfigured


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "example.org"])
def test_it_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(Misconfigured, match="no login"):
        dashboard(api="http://127.0.0.1:8080", host=host, port=0, open_browser=False)


def test_with_a_login_it_may_be_reached_by_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDSHIFT_OIDC_ISSUER", "https://login.example.org")
    start: dict[str, Any] = {"api": "nothing", "host": "0.0.0.0", "port": 0, "open_browser": False}
    with pytest.raises(Misconfigured, match="GROUNDSHIFT_PUBLIC_URL"):
        dashboard(**start)
    monkeypatch.setenv("GROUNDSHIFT_PUBLIC_URL", "https://alerts.example.org")
    with pytest.raises(Misconfigured, match="http://HOST:PORT"):  # the next thing that is asked
        dashboard(**start)


def test_half_a_login_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDSHIFT_OIDC_ISSUER", "https://login.example.org")
    with pytest.raises(Misconfigured, match="GROUNDSHIFT_OIDC_AUDIENCE"):
        dashboard(api="http://127.0.0.1:8080", host="127.0.0.1", port=0, open_browser=False)


def test_the_api_is_an_address() -> None:
    with pytest.raises(Misconfigured, match="http://HOST:PORT"):
        dashboard(api="localhost:8080", host="127.0.0.1", port=0, open_browser=False)
