"""The login without a browser: what Streamlit is told, whose token goes on, and the way back."""

from __future__ import annotations

import json
import random
from typing import Any, Final

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from streamlit.auth_util import set_cookie_with_chunks
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

from groundshift.dashboard.login import Login
from groundshift.dashboard.proxy import Proxy
from groundshift.errors import Misconfigured
from groundshift.settings import Settings

URL: Final = "https://alerts.example.org"
KEY: Final = "a key of the tests that is long enough"


def settings(**changes: Any) -> Settings:
    given_: dict[str, Any] = {
        "oidc_issuer": "https://login.example.org/realm/",
        "oidc_audience": "groundshift",
        "oidc_client_secret": SecretStr("hush"),
        "cookie_key": SecretStr(KEY),
        "public_url": f"{URL}/",
    }
    return Settings(**{**given_, **changes})


def login(**changes: Any) -> Login:
    found = Login.of(settings(**changes), url="http://127.0.0.1:8501")
    assert found is not None
    return found


def cookies(key: str = KEY, **tokens: str) -> dict[str, str]:
    """As Streamlit sets them."""
    made: dict[str, str] = {}
    set_cookie_with_chunks(
        lambda name, value: made.update({name: create_signed_value(key, name, value).decode()}),
        lambda name, value: create_signed_value(key, name, value),
        "_streamlit_user_tokens",
        tokens,
        cookie_attr_size=100,
    )
    return made


def noise(size: int) -> str:
    """A token that no cookie compresses."""
    return random.Random(size).randbytes(size).hex()[:size]


# What Streamlit is told


def test_streamlit_is_told_from_the_settings() -> None:
    assert login().secrets() == {
        "redirect_uri": f"{URL}/oauth2callback",
        "cookie_secret": KEY,
        "client_id": "groundshift",
        "client_secret": "hush",
        "server_metadata_url": "https://login.example.org/realm/.well-known/openid-configuration",
        "client_kwargs": {"scope": "openid email profile"},
        "expose_tokens": ["id"],
    }


def test_without_a_public_address_browsers_come_back_to_the_one_that_listens() -> None:
    found = login(public_url="", oidc_client_id="dashboard", cookie_key=SecretStr(""))
    assert found.secrets()["redirect_uri"] == "http://127.0.0.1:8501/oauth2callback"
    assert found.secrets()["client_id"] == "dashboard"
    again = login(public_url="", cookie_key=SecretStr(""))
    assert len(found.cookie_key) >= 32
    assert found.cookie_key != again.cookie_key


def test_no_issuer_is_no_login() -> None:
    assert Login.of(Settings(), url=URL) is None


@pytest.mark.parametrize("name", ["oidc_audience", "oidc_client_secret"])
def test_half_a_login_is_none(name: str) -> None:
    with pytest.raises(Misconfigured, match=name.upper()):
        login(**{name: "" if name == "oidc_audience" else SecretStr("")})


def test_secrets_are_not_shown() -> None:
    shown = repr(login()) + repr(settings())
    assert "hush" not in shown
    assert KEY not in shown


# Whose token goes on


async def echo(request: httpx.Request) -> httpx.Response:
    async def body() -> Any:
        yield json.dumps(dict(request.headers)).encode()

    return httpx.Response(200, content=body(), headers={"content-type": "application/json"})


def browser(held: dict[str, str], **changes: Any) -> TestClient:
    proxy = Proxy("http://api.test", login=login(**changes), transport=httpx.MockTransport(echo))
    methods = ["GET", "POST", "DELETE"]
    app = Starlette(routes=[Route("/api/{path:path}", proxy.forward, methods=methods)])
    return TestClient(app, base_url=URL, client=("192.0.2.7", 50_000), cookies=held)


@tried(max_examples=30, deadline=None)
@given(st.integers(1, 9000))
def test_the_token_of_the_cookie_is_the_bearer(size: int) -> None:
    token = noise(size)
    held = cookies(id_token=token, access_token="other")
    assert browser(held).get("/api/me").json()["authorization"] == f"Bearer {token}"
    other = browser(held, oidc_token="access").get("/api/me").json()
    assert other["authorization"] == "Bearer other"


def test_nobody_is_whoever_a_header_says() -> None:
    said = {"authorization": "Bearer mine", "x-forwarded-user": "root", "cookie-user": "root"}
    assert browser({}).get("/api/me", headers=said).status_code == 401
    held = cookies(id_token="t")
    answer = browser(held).get("/api/me", headers=said)
    assert answer.headers["vary"] == "Cookie"
    onward = answer.json()
    assert onward["authorization"] == "Bearer t"
    assert not {"x-forwarded-user", "cookie-user", "cookie"} & set(onward)


@pytest.mark.parametrize(
    "held",
    [
        {"_streamlit_user_tokens": "nonsense"},
        {"_streamlit_user_tokens": json.dumps({"id_token": "t"})},
        cookies(key="another key that is long enough", id_token="t"),
        cookies(access_token="t"),
        {"_streamlit_user_tokens": cookies(id_token=noise(9000))["_streamlit_user_tokens"]},
    ],
    ids=["nonsense", "unsigned", "another key", "another token", "half"],
)
def test_a_cookie_that_is_not_ours_is_nobody(held: dict[str, str]) -> None:
    answer = browser(held).get("/api/alerts")
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", f"{URL}:444", "http:" + URL[6:], ""]
)
def test_another_sites_page_may_not_ask(origin: str) -> None:
    client = browser(cookies(id_token="t"))
    assert client.post("/api/reviews", headers={"origin": origin}).status_code == 403
    assert client.post("/api/reviews", headers={"origin": URL}).status_code == 200


# The way back


def site() -> TestClient:
    async def away(_: Request) -> Response:
        return RedirectResponse("https://login.example.org/authorize", 302)

    async def back(_: Request) -> Response:
        return RedirectResponse("/", 302)

    routes = [Route("/auth/login", away), Route("/oauth2callback", back), Route("/x", back)]
    app = Starlette(routes=routes, middleware=login().middleware())
    return TestClient(app, base_url=URL, follow_redirects=False)


def way_back(page: str) -> str:
    """Where a browser is after a login that a page asked for."""
    client = site()
    away = client.get("/auth/login", headers={"referer": page})
    assert away.headers["location"] == "https://login.example.org/authorize"
    return client.get("/oauth2callback").headers["location"]


@pytest.mark.parametrize(
    "place",
    ["/", "/data", "/?alert=a1&v=2.1,48.9,12.00&rendering=ndvi", "/label?alert=%C3%A9%20%26"],
)
def test_after_the_login_a_browser_is_where_it_was(place: str) -> None:
    assert way_back(f"{URL}{place}") == place


@tried(max_examples=50, deadline=None)
@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"])))
def test_the_way_back_leads_to_no_other_host(text: str) -> None:
    for page in (text, f"{URL}/{text}", f"{URL}{text}", f"//{text}", f"https://evil.test/{text}"):
        assert httpx.URL(URL).join(way_back(page)).host == "alerts.example.org"
        assert not way_back(page).startswith(("//", "/\\"))


def test_the_way_back_is_used_once() -> None:
    client = site()
    client.get("/auth/login", headers={"referer": f"{URL}/data"})
    assert client.get("/x").headers["location"] == "/"
    assert client.get("/oauth2callback").headers["location"] == "/data"
    assert client.get("/oauth2callback").headers["location"] == "/"
    made = client.get("/auth/login", headers={"referer": f"{URL}/data"}).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Lax", "Secure", "Path=/oauth2callback"} <= set(made.split("; "))


async def _cookies(_: Request) -> Response:
    answer = Response()
    answer.set_cookie("a", "1")
    answer.set_cookie("b", "secure", secure=True)
    return answer


@pytest.mark.parametrize(("url", "secure"), [(URL, True), ("http://127.0.0.1:8501", False)])
def test_behind_https_cookies_travel_by_https_only(url: str, secure: bool) -> None:
    app = Starlette(routes=[Route("/", _cookies)], middleware=login(public_url=url).middleware())
    made = TestClient(app).get("/").headers.get_list("set-cookie")
    assert [cookie.split("; ").count("Secure") for cookie in made] == [int(secure), 1]
