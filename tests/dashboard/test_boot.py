"""The page with the map starts the workspace before Streamlit; no other answer is touched."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from groundshift.dashboard.boot import Boot
from groundshift.dashboard.server import STATIC

PAGE = "<html><head><title>x</title></head><body></body></html>"


def client(answer: Callable[[Request], Response]) -> TestClient:
    async def page(request: Request) -> Response:
        return answer(request)

    routes = [Route(path, page, methods=["GET", "POST"]) for path in ("/", "/label", "/data")]
    app = Starlette(routes=routes, middleware=[Middleware(Boot, assets="/assets/abc")])
    return TestClient(app)


def whole(_: Request) -> Response:
    return HTMLResponse(PAGE, headers={"etag": '"file"', "last-modified": "yesterday"})


@pytest.mark.parametrize("path", ["/", "/label"])
def test_pages_with_a_map_load_it_at_once(path: str) -> None:
    answer = client(whole).get(path)
    head, _, body = answer.text.partition("</head>")
    assert body == PAGE.partition("</head>")[2]
    assert '<script type="module" src="/assets/abc/boot.mjs">' in head
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert "etag" not in answer.headers  # of the file, which is another text
    for name in re.findall(r"/assets/abc/([\w./-]+)", head):
        assert (STATIC / name).is_file(), name


def test_what_the_workspace_asks_first_is_fetched_already() -> None:
    hinted = re.findall(r'as="fetch" crossorigin href="/(api/[^"]+)"', client(whole).get("/").text)
    text = (STATIC / "api.mjs").read_text()
    for address in hinted:
        assert f'"{address.partition("?")[0]}"' in text, address


def test_other_pages_and_other_answers_pass() -> None:
    assert client(whole).get("/data").text == PAGE
    assert client(whole).post("/").text == PAGE
    plain = client(lambda _: PlainTextResponse(PAGE)).get("/")
    assert plain.text == PAGE


def test_the_page_is_asked_for_whole_and_unpacked() -> None:
    seen: dict[str, str] = {}

    def note(request: Request) -> Response:
        seen.update(request.headers)
        return HTMLResponse(PAGE)

    asked = {"accept-encoding": "gzip", "if-none-match": '"file"', "cookie": "a=b"}
    client(note).get("/", headers=asked)
    assert seen["cookie"] == "a=b"
    assert not {"accept-encoding", "if-none-match"} & seen.keys()
