"""`groundshift dashboard` before it serves."""

from __future__ import annotations

import pytest

from functions.commands.dashboard import dashboard
from groundshift.errors import Misconfigured


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "example.org"])
def test_it_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(Misconfigured, match="no login"):
        dashboard(api="http://127.0.0.1:8080", host=host, port=0, open_browser=False)


def test_the_api_is_an_address() -> None:
    with pytest.raises(Misconfigured, match="http://HOST:PORT"):
        dashboard(api="localhost:8080", host="127.0.0.1", port=0, open_browser=False)
