"""The API under the dashboard's own address."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from groundshift.dashboard.client import Api
from groundshift.dashboard.proxy import Proxy
from groundshift.errors import GroundshiftError, Unavailable

LOCAL = "http://127.0.0.1:8501"


def browser(answer: Any, base_url: str = LOCAL, client: str = "127.0.0.1") -> TestClient:
    proxy = Proxy("http://api.test", transport=httpx.MockTransport(answer))
    methods = ["GET", "POST", "DELETE"]
    app = Starlette(routes=[Route("/api/{path:path}", proxy.forward, methods=methods)])
    return TestClient(app, base_url=base_url, client=(client, 50_000))


async def echo(request: httpx.Request) -> httpx.Response:
    said = {
        "method": request.method,
        "url": str(request.url),
        "body": (await request.aread()).decode(),
        "headers": sorted(request.headers),
    }
    headers = {"etag": '"1"', "set-cookie": "a=b", "content-type": "application/json"}
    return httpx.Response(200, content=streamed(json.dumps(said).encode()), headers=headers)


async def streamed(body: bytes) -> AsyncIterator[bytes]:
    """As a network gives it: not read yet."""
    yield body


def test_a_request_goes_on_as_it_came() -> None:
    answer = browser(echo).post("/api/reviews?x=a%20b&x=c", content=b"{}")
    assert answer.json()["url"] == "http://api.test/api/reviews?x=a%20b&x=c"
    assert (answer.json()["method"], answer.json()["body"]) == ("POST", "{}")
    assert answer.headers["etag"] == '"1"'


def test_cookies_and_foreign_headers_stay_here() -> None:
    sent = {"cookie": "session=1", "x-user": "root", "authorization": "Bearer x"}
    answer = browser(echo).get("/api/alerts", headers=sent)
    assert not set(sent) & set(answer.json()["headers"])
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("url", "client", "headers"),
    [
        ("http://evil.example", "127.0.0.1", {}),
        (LOCAL, "10.0.0.7", {}),
        (LOCAL, "127.0.0.1", {"origin": "https://evil.example"}),
        (LOCAL, "127.0.0.1", {"origin": "null"}),
    ],
    ids=["rebound name", "other machine", "page of another site", "sandboxed page"],
)
def test_only_this_machine_may_ask(url: str, client: str, headers: dict[str, str]) -> None:
    answer = browser(echo, url, client).get("/api/alerts", headers=headers)
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"


class Closing:
    """An API that closes the connection under the first request."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.asked == 1:
            raise httpx.RemoteProtocolError("Server disconnected", request=request)
        return httpx.Response(200, json={"features": []})

    async def streamed(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=streamed(self(request).content))


def test_a_read_outlives_a_connection_that_the_api_closed() -> None:
    assert browser(Closing().streamed).get("/api/alerts").status_code == 200
    api = Api("http://api.test", transport=httpx.MockTransport(Closing()))
    assert api.get("/api/alerts") == {"features": []}


def test_what_writes_is_never_said_twice() -> None:
    api = Closing()
    answer = browser(api.streamed).post("/api/reviews", content=b"{}")
    assert (answer.status_code, api.asked) == (502, 1)


def test_a_platform_that_is_away_is_said_with_the_cure() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    answer = browser(refuse).get("/api/alerts")
    assert answer.status_code == 502
    assert "groundshift up" in answer.json()["detail"]


def test_a_body_has_its_limit() -> None:
    assert browser(echo).post("/api/reviews", content=b"x" * (9 << 20)).status_code == 413


def test_paths_stay_below_the_api() -> None:
    answer = browser(echo).get("/api/../v2/models")
    assert answer.status_code == 404


# ---- what the pages read


def api(answer: Any) -> Api:
    return Api("http://api.test", transport=httpx.MockTransport(answer))


def test_every_page_is_read() -> None:
    def pages(request: httpx.Request) -> httpx.Response:
        if "cursor" in request.url.params:
            return httpx.Response(200, json={"rows": [3], "links": []})
        link = {"rel": "next", "href": "http://api.test/api/rows?cursor=2"}
        return httpx.Response(200, json={"rows": [1, 2], "links": [link]})

    assert api(pages).every("/api/rows", "rows") == [1, 2, 3]


def test_a_problem_becomes_its_detail() -> None:
    with pytest.raises(GroundshiftError, match="the cure"):
        api(lambda _: httpx.Response(409, json={"detail": "the cure"})).get("/api/x")
    with pytest.raises(GroundshiftError, match="answered 500 to /api/x"):
        api(lambda _: httpx.Response(500, text="oh")).get("/api/x")


def test_nobody_answers() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(Unavailable, match="groundshift up"):
        api(refuse).get("/api/x")
