"""Who may do what: tokens, roles, tenants, signed addresses, and the local user."""

import base64
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import shapely
from api_world import AUDIENCE, ISSUER, verifier
from fastapi.testclient import TestClient
from joserfc.jwk import KeySet, RSAKey
from pydantic import SecretStr

from groundshift.api import create_api
from groundshift.api.tokens import TokenVerifier
from groundshift.errors import Misconfigured, Unauthenticated

HOUSE = {"verdict": "accept", "alert_version": 1}


def ask(world, token, path="/api/me"):
    return world.anonymous().get(path, headers={"authorization": f"Bearer {token}"})


def chip_of(alert, scene_id):
    box = ",".join(map(str, shapely.geometry.shape(alert["geometry"]).bounds))
    return f"/api/chips/{scene_id}.png?bbox={box}"


# Tokens


def test_a_token_of_the_login_says_who_it_is(world):
    said = ask(world, world.token(["viewer", "analyst"], email="ann@acme.test")).json()
    assert said == {
        "user": "ann@acme.test",
        "tenant": "acme",
        "role": "analyst",
        "local": False,
        "issuer": ISSUER,
    }


def test_nobody_is_let_in_without_one(world):
    answer = world.anonymous().get("/api/alerts")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    plain = {"x-forwarded-user": "ann", "x-tenant": "acme", "remote-user": "ann"}
    assert world.anonymous().get("/api/alerts", headers=plain).status_code == 401
    local = TestClient(world.app, base_url="http://localhost", client=("127.0.0.1", 1))
    assert local.get("/api/alerts").status_code == 401


def unsigned(world):
    _, body, _ = world.token("admin").split(".")
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).decode().rstrip("=")
    return f"{none}.{body}."


def signed_with_the_public_key(world):
    _, body, _ = world.token("admin").split(".")
    head = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": "k1"}).encode())
    text = head.rstrip(b"=") + b"." + body.encode()
    mac = hmac.digest(world.key.as_pem(private=False), text, "sha256")
    return f"{text.decode()}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


BAD = {
    "expired": lambda w: w.token("admin", exp=int(time.time()) - 120),
    "not yet": lambda w: w.token("admin", nbf=int(time.time()) + 600),
    "another issuer": lambda w: w.token("admin", iss="https://evil.test"),
    "another audience": lambda w: w.token("admin", aud="another-program"),
    "no expiry": lambda w: w.token("admin", exp=None),
    "no audience": lambda w: w.token("admin", aud=None),
    "another key": lambda w: w.token("admin", key=RSAKey.generate_key(2048, {"kid": "k1"})),
    "unsigned": unsigned,
    "public key as secret": signed_with_the_public_key,
    "changed": lambda w: w.token("viewer")[:-12] + "A" * 12,
    "no token": lambda _: "abc",
    "huge": lambda w: w.token("admin", note="x" * 20_000),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_token_that_does_not_hold_is_refused(world, kind):
    answer = ask(world, BAD[kind](world))
    assert answer.status_code == 401
    assert "invalid_token" in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    "claims", [{"tenant": None}, {"tenant": ""}, {"role": "owner"}, {"role": None}, {"role": 7}]
)
def test_a_token_that_grants_nothing_is_forbidden(world, claims):
    said = {"tenant": "acme", "role": "viewer", **claims}
    assert ask(world, world.token(said.pop("role"), **said)).status_code == 403


def test_the_logins_keys_may_change(world):
    old, new = (RSAKey.generate_key(2048, {"kid": kid}) for kid in ("k1", "k2"))
    asked, keys = [], [old]

    def fetch(url):
        asked.append(url)
        if url.endswith("openid-configuration"):
            return {"jwks_uri": f"{ISSUER}/keys"}
        return KeySet(keys).as_dict(private=False)

    tokens = TokenVerifier(ISSUER, AUDIENCE, fetch=fetch, ask_again_s=0)
    assert tokens.verify(world.token("viewer", key=old))["sub"] == "ann"
    assert len(asked) == 2
    tokens.verify(world.token("viewer", key=old))
    assert len(asked) == 2  # kept
    keys[:] = [new]
    assert tokens.verify(world.token("viewer", key=new))["sub"] == "ann"
    with pytest.raises(Unauthenticated):
        tokens.verify(world.token("viewer", key=old))


@pytest.fixture
def login(key):
    """The login's documents, served over HTTP."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            base = f"http://127.0.0.1:{self.server.server_port}"
            documents = {
                "/.well-known/openid-configuration": {"jwks_uri": f"{base}/keys"},
                "/keys": KeySet([key]).as_dict(private=False),
            }
            body = json.dumps(documents[self.path]).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_keys_come_from_the_login_that_the_settings_name(world, login):
    settings = world.platform.settings.model_copy(update={"oidc_issuer": login})
    world.app = create_api(
        settings=settings, ledger=world.platform.ledger, store=world.platform.store
    )
    assert ask(world, world.token("viewer", iss=login)).status_code == 200
    assert ask(world, world.token("viewer")).status_code == 401


def test_a_login_that_is_down_is_no_refusal(world):
    settings = world.platform.settings.model_copy(update={"oidc_issuer": "http://127.0.0.1:1"})
    world.app = create_api(
        settings=settings, ledger=world.platform.ledger, store=world.platform.store
    )
    answer = ask(world, world.token("viewer"))
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")


def test_an_issuer_without_an_audience_does_not_start(world):
    settings = world.platform.settings.model_copy(update={"oidc_audience": ""})
    with pytest.raises(Misconfigured, match="oidc_audience"):
        create_api(settings=settings, ledger=world.platform.ledger, store=world.platform.store)


# Roles


def test_a_viewer_looks_and_does_nothing_else(world):
    viewer, alert = world.client("viewer"), world.alert("house")
    assert viewer.get("/api/alerts").status_code == 200
    body = {"alert_id": alert["id"], **HOUSE}
    refused = [
        viewer.post("/api/reviews", json=body),
        viewer.post("/api/queue/next"),
        viewer.post(f"/api/queue/{alert['id']}/lock"),
        viewer.delete(f"/api/queue/{alert['id']}/lock"),
        viewer.get("/api/webhooks"),
    ]
    assert [answer.status_code for answer in refused] == [403] * len(refused)
    assert world.alert("house")["properties"]["verdict"] == []


def test_an_analyst_manages_no_webhooks(world):
    body = {"url": "https://hooks.example.org/x"}
    assert world.client("analyst").post("/api/webhooks", json=body).status_code == 403
    assert world.client("admin").post("/api/webhooks", json=body).status_code == 201


# Tenants


def everything_of_acme(world):
    alert = world.alert("house")
    return [
        f"/api/alerts/{alert['id']}",
        f"/api/alerts/{alert['id']}/pack.zip",
        f"/api/reviews?alert_id={alert['id']}",
        "/api/scenes/acme-after",
        "/api/tiles/scene/acme-after/tilejson.json",
        "/api/tiles/scene/acme-after/10/518/352.png",
        "/api/tiles/run/run-acme/change/tilejson.json",
        "/api/tiles/run/run-acme/observed/10/518/352.png",
        chip_of(alert, "acme-after"),
        "/api/files/scenes/acme-after/scene.tif",
        "/api/files/runs/run-acme/change.tif",
        f"/ogc/collections/alerts/items/{alert['id']}",
        "/ogc/collections/changes/items/run-acme.house",
        "/stac/collections/scenes/items/acme-after",
        "/stac/collections/runs/items/run-acme",
    ]


def test_a_tenant_finds_nothing_of_another_by_name(world):
    mine, theirs = world.client("admin"), world.client("admin", tenant="globex")
    for path in everything_of_acme(world):
        assert mine.get(path).status_code == 200, path
        answer = theirs.get(path)
        assert answer.status_code == 404, path
        unknown = path.replace("acme", "nobody").replace(world.alert("house")["id"], "nobody")
        said, nobody = answer.json()["detail"], theirs.get(unknown).json()["detail"]
        shape = said.replace("acme", "nobody").replace(world.alert("house")["id"], "nobody")
        assert shape == nobody, path  # the answer does not tell that it exists


def test_a_tenant_sees_nothing_of_another_in_any_list(world):
    theirs = world.client("admin", tenant="globex")
    for path in (
        "/api/alerts",
        "/api/alerts?site_id=site-acme",
        "/api/queue",
        "/api/queue?site_id=site-acme",
        "/api/scenes",
        "/api/runs",
        "/api/gaps",
        "/api/sites",
        "/api/stats",
        "/api/feed",
        "/api/labels",
        "/api/reviews",
        "/ogc/collections/alerts/items",
        "/ogc/collections/alerts/items?f=csv",
        "/ogc/collections/changes/items?site_id=site-acme",
        "/stac/search",
        "/stac/search?ids=acme-after",
    ):
        answer = theirs.get(path)
        assert answer.status_code == 200, path
        foreign = {"acme", world.alert("house")["id"]}
        body = answer.text.replace("site_id=site-acme", "").replace("ids=acme-after", "")
        assert not any(word in body for word in foreign), path


def test_a_tenant_cannot_act_on_another(world):
    theirs, alert = world.client("admin", tenant="globex"), world.alert("house")
    body = {"alert_id": alert["id"], **HOUSE}
    assert theirs.post("/api/reviews", json=body).status_code == 404
    assert theirs.post(f"/api/queue/{alert['id']}/lock").status_code == 404
    hook = world.client("admin").post("/api/webhooks", json={"url": "https://a.example.org"}).json()
    assert theirs.post(f"/api/webhooks/{hook['id']}/test").status_code == 404
    assert theirs.delete(f"/api/webhooks/{hook['id']}").status_code == 404
    assert theirs.get("/api/webhooks").json() == {"webhooks": []}


# Signed addresses


def signed(world, path, **client):
    answer = world.client("viewer", **client).get("/api/sign", params={"path": path})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()["href"]


def test_a_browser_opens_what_was_signed(world):
    alert = world.alert("house")
    for path in (
        chip_of(alert, "acme-after"),
        f"/api/alerts/{alert['id']}/pack.zip",
        "/api/files/runs/run-acme/change.tif",
        "/api/tiles/scene/acme-after/10/518/352.png",
    ):
        assert world.anonymous().get(path).status_code == 401
        assert world.anonymous().get(signed(world, path)).status_code == 200


def test_a_signature_opens_that_scene_only_and_no_other_door(world):
    query = signed(world, "/api/tiles/scene/acme-after/10/518/352.png").partition("?")[2]
    alert = world.alert("house")
    anonymous = world.anonymous()
    assert anonymous.get(f"/api/tiles/scene/acme-after/9/259/176.png?{query}").status_code == 200
    for path in (
        "/api/tiles/scene/acme-before/10/518/352.png",
        "/api/tiles/run/run-acme/change/10/518/352.png",
        "/api/files/scenes/acme-after/scene.tif",
        "/api/alerts",
        f"/api/alerts/{alert['id']}",
        f"/api/alerts/{alert['id']}/pack.zip",
        "/api/me",
        "/stac/search",
    ):
        assert anonymous.get(f"{path}?{query}").status_code == 401, path
    pack = signed(world, f"/api/alerts/{alert['id']}/pack.zip").partition("?")[2]
    assert anonymous.get(f"/api/alerts/{alert['id']}?{pack}").status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        lambda href: href.replace("tenant=acme", "tenant=globex"),
        lambda href: href.replace("expires=", "expires=9"),
        lambda href: href.replace("signature=", "signature=0"),
        lambda href: href.replace("signature=", "signature=%C3%A9"),
        lambda href: href.replace("expires=", "expires=-"),
    ],
)
def test_a_changed_signature_opens_nothing(world, change):
    href = signed(world, "/api/tiles/scene/acme-after/10/518/352.png")
    assert world.anonymous().get(href).status_code == 200
    assert world.anonymous().get(change(href)).status_code == 401


def test_a_signature_of_one_tenant_shows_nothing_of_another(world):
    href = signed(world, "/api/tiles/scene/acme-after/10/518/352.png", tenant="globex")
    assert world.anonymous().get(href).status_code == 404


def test_a_signature_ends(make_world):
    world = make_world(signed_url_s=0.001)
    href = signed(world, "/api/tiles/scene/acme-after/10/518/352.png")
    assert world.anonymous().get(href).status_code == 401


def test_replicas_with_one_key_know_each_others_signatures(world, key):
    settings = world.platform.settings.model_copy(update={"signing_key": SecretStr("s3cret")})
    one, other = (
        create_api(
            settings=settings,
            ledger=world.platform.ledger,
            store=world.platform.store,
            tokens=verifier(key),
        )
        for _ in range(2)
    )
    world.app = one
    href = signed(world, "/api/tiles/scene/acme-after/10/518/352.png")
    world.app = other
    assert world.anonymous().get(href).status_code == 200


@pytest.mark.parametrize(
    "path", ["/api/alerts", "/stac", "/api/tiles/../me", "http://x/api/tiles/"]
)
def test_only_pictures_and_files_are_signed(world, path):
    path = path if path != "/api/alerts" else "/api/reviews"
    answer = world.client("viewer").get("/api/sign", params={"path": path})
    assert answer.status_code == 400


# The local user


def local(world, host="http://localhost:8080", client="127.0.0.1"):
    return TestClient(world.app, base_url=host, client=(client, 40000))


def test_without_a_login_there_is_one_local_user(make_world):
    world = make_world(login=False)
    for host in ("http://localhost:8080", "http://127.0.0.1:8080", "http://[::1]:8080"):
        said = local(world, host).get("/api/me").json()
        assert said == {
            "user": "local",
            "tenant": "acme",
            "role": "admin",
            "local": True,
            "issuer": None,
        }
    scene = local(world).get("/api/tiles/scene/acme-after/tilejson.json").json()
    assert "signature" not in scene["tiles"][0]
    assert local(world).get("/api/scenes/globex-after").status_code == 404


def test_nobody_else_is_taken_for_the_local_user(make_world):
    world = make_world(login=False)
    assert local(world, client="192.0.2.7").get("/api/me").status_code == 401
    assert local(world, "http://evil.test").get("/api/me").status_code == 401  # DNS rebinding
    foreign = {"origin": "https://evil.test"}
    assert local(world).get("/api/me", headers=foreign).status_code == 401
    assert local(world).post("/api/queue/next", headers=foreign).status_code == 401
    assert local(world).get("/api/me", headers={"origin": "null"}).status_code == 401
    dashboard = {"origin": "http://localhost:8501"}
    assert local(world).get("/api/me", headers=dashboard).status_code == 200


def test_pages_of_this_machine_may_ask_and_others_may_not(make_world):
    world = make_world(login=False)
    ours = local(world).get("/api/me", headers={"origin": "http://localhost:8501"})
    assert ours.headers["access-control-allow-origin"] == "http://localhost:8501"
    theirs = local(world).options(
        "/api/reviews",
        headers={"origin": "https://evil.test", "access-control-request-method": "POST"},
    )
    assert "access-control-allow-origin" not in theirs.headers
