"""Who may open the dashboard's WebSocket."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from groundshift.dashboard.origins import OwnPages

MAP = "https://map.example"


async def talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("welcome")
    await socket.close()


def browser(origin: str | None, *, base: str, client: str = "127.0.0.1") -> TestClient:
    middleware = [Middleware(OwnPages, origin=origin)]
    app = Starlette(routes=[WebSocketRoute("/stream", talk)], middleware=middleware)
    return TestClient(app, base_url=base, client=(client, 50_000))


def opens(client: TestClient, **headers: str) -> bool:
    try:
        with client.websocket_connect("/stream", headers=headers) as socket:
            return socket.receive_text() == "welcome"
    except WebSocketDisconnect as closed:
        return closed.code != 1008


@pytest.mark.parametrize(
    ("origin", "may"),
    [(MAP, True), ("https://evil.example", False), ("http://map.example", False), ("null", False)],
)
def test_behind_a_gateway_its_own_name_counts_whatever_the_host_says(origin: str, may: bool):
    client = browser(MAP, base="http://dashboard.groundshift.svc.cluster.local", client="10.1.2.3")
    assert opens(client, origin=origin) is may


def test_who_says_no_origin_is_no_page_of_ours() -> None:
    assert not opens(browser(MAP, base=MAP))


@pytest.mark.parametrize(
    ("client", "origin", "may"),
    [
        ("127.0.0.1", "http://127.0.0.1:8501", True),
        ("127.0.0.1", "https://evil.example", False),
        ("192.0.2.7", "http://127.0.0.1:8501", False),
    ],
)
def test_without_a_login_only_this_machine(client: str, origin: str, may: bool) -> None:
    here = browser(None, base="http://127.0.0.1:8501", client=client)
    assert opens(here, origin=origin, host="127.0.0.1:8501") is may
