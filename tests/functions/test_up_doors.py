"""Who comes in by which door of `groundshift up`: with a login, without one, from elsewhere."""

import json
import time
from contextlib import ExitStack

import httpx
import pytest
from api_world import opened, write_tenant
from oidc_provider import CLIENT, SECRET, provider, served
from sqlalchemy import select
from starlette.testclient import TestClient

from functions.commands.submit import submit
from functions.commands.up import create_app
from functions.local import Embedded
from functions.metrics import DispatchMetrics
from groundshift.api.doors import DOORS
from groundshift.errors import Forbidden
from groundshift.ledger import tables

NO_SERVER = "http://127.0.0.1:1"
PEOPLE = {name: {"role": name, "tenant": "acme"} for name in ("viewer", "analyst", "admin")}
EVENT = {
    "specversion": "1.0",
    "source": "cam",
    "type": "io.groundshift.scene.arrived.v1",
    "datacontenttype": "application/json",
}


@pytest.fixture(scope="module")
def login():
    with provider(PEOPLE) as made:
        yield made


@pytest.fixture
def make_up(tmp_path, login):
    """What opens `up` as an app; the model server is one that answers everything."""
    with ExitStack() as stack:

        def make(*, with_login=True, **options):
            issuer = {"oidc_issuer": login.url, "oidc_audience": CLIENT} if with_login else {}
            platform = stack.enter_context(
                opened(tmp_path / "data", models_url=NO_SERVER, **issuer, **options)
            )
            app = create_app(Embedded(platform, DispatchMetrics(), platform.models, None))
            app.state.models = httpx.AsyncClient(transport=httpx.MockTransport(model_server))
            app.state.ledger = platform.ledger
            return app

        yield make


async def model_server(request):
    async def body():
        yield b"{}"

    assert "authorization" not in request.headers
    return httpx.Response(200, content=body())


def ask(app, door, *, token=None, client="192.0.2.7", host="platform.test", **headers):
    if token:
        headers["authorization"] = f"Bearer {token}"
    asker = TestClient(app, base_url=f"http://{host}", client=(client, 40000))
    if door == "events":
        return announce(asker, headers)
    return asker.get(ADDRESSES[door], headers=headers)


def announce(asker, headers, *, event_id="1", source="cam", **data):
    body = {**EVENT, "id": event_id, "source": source, "data": {"href": "/x.json", **data}}
    media = {"content-type": "application/cloudevents+json"}
    return asker.post("/events", content=json.dumps(body), headers={**headers, **media})


def arrivals_of(app):
    with app.state.ledger.read() as connection:
        return {row.id: row.tenant for row in connection.execute(select(tables.arrivals))}


ADDRESSES = {"status": "/status", "models": "/v2/models", "metrics": "/metrics"}
GOOD = {"events": 202, "status": 200, "models": 200, "metrics": 200}
COMES_IN = {  # door: roles
    "events": {"analyst", "admin", "service"},
    "status": {"analyst", "admin", "service"},
    "models": {"analyst", "admin", "service"},
    "metrics": {"admin", "service"},
}


def test_the_table_knows_every_door():
    assert set(COMES_IN) == set(DOORS) == set(GOOD)


@pytest.mark.parametrize("door", COMES_IN)
def test_with_a_login_a_door_takes_a_token_with_a_role(make_up, login, door):
    up = make_up()
    for role in ("viewer", "analyst", "admin", "service", "owner"):
        answer = ask(up, door, token=login.token(sub="x", role=role, tenant="acme"))
        wanted = GOOD[door] if role in COMES_IN[door] else 403
        assert answer.status_code == wanted, (role, answer.text)
    nobody = ask(up, door)
    assert nobody.status_code == 401
    assert nobody.headers["content-type"] == "application/problem+json"
    assert nobody.headers["www-authenticate"].startswith("Bearer")
    here = ask(up, door, client="127.0.0.1", host="localhost")
    assert here.status_code == 401, "this machine is nobody where there is a login"
    over = login.token(sub="x", role="admin", tenant="acme", exp=int(time.time()) - 120)
    assert ask(up, door, token=over).status_code == 401


@pytest.mark.parametrize("door", COMES_IN)
def test_without_a_login_a_door_opens_to_this_machine(make_up, door):
    up = make_up(with_login=False)
    for host in ("localhost:8080", "127.0.0.1:8080", "[::1]:8080"):
        assert ask(up, door, client="127.0.0.1", host=host).status_code == GOOD[door]
    assert ask(up, door).status_code == 401
    assert ask(up, door, client="127.0.0.1", host="evil.test").status_code == 401
    foreign = {"origin": "https://evil.test"}
    assert ask(up, door, client="127.0.0.1", host="localhost", **foreign).status_code == 401


@pytest.mark.parametrize("with_login", [True, False])
@pytest.mark.parametrize("door", COMES_IN)
def test_a_door_that_is_set_open_is_open_and_no_other(make_up, door, with_login):
    up = make_up(with_login=with_login, open_doors=(door,))
    assert ask(up, door).status_code == GOOD[door]
    for other in set(COMES_IN) - {door}:
        assert ask(up, other).status_code == 401
    if with_login:
        assert ask(up, door, token="nonsense").status_code == 401


def test_probes_are_open_and_say_nothing(make_up):
    up = make_up()
    asker = TestClient(up, base_url="http://platform.test", client=("192.0.2.7", 1))
    assert asker.get("/healthz").text == "ok"
    assert set(asker.get("/readyz").json()) == {"ready", "missing"}


def test_a_signed_address_opens_no_door(make_up, login):
    up = make_up()
    asker = TestClient(up, base_url="http://platform.test", client=("192.0.2.7", 1))
    token = login.token(sub="x", role="viewer", tenant="acme")
    headers = {"authorization": f"Bearer {token}"}
    query = {"path": "/api/tiles/scene/acme-after/10/518/352.png"}
    href = asker.get("/api/sign", params=query, headers=headers).json()["href"]
    signed = href.partition("?")[2]
    for address in ADDRESSES.values():
        assert asker.get(f"{address}?{signed}").status_code == 401


# Tenants


def of(login, tenant, role="service"):
    return {"authorization": f"Bearer {login.token(sub='x', role=role, tenant=tenant)}"}


def test_who_announces_announces_for_their_tenant(make_up, login):
    up = make_up()
    asker = TestClient(up)
    mine = announce(asker, of(login, "globex"), source="globex-cam")
    assert mine.status_code == 202
    assert arrivals_of(up) == {mine.json()["arrival"]: "globex"}
    refused = announce(asker, of(login, "globex"), event_id="2", tenant="acme")
    assert (refused.status_code, "acme" in refused.json()["detail"]) == (403, True)
    assert announce(asker, of(login, "acme"), event_id="2", tenant="acme").status_code == 202
    assert sorted(arrivals_of(up).values()) == ["acme", "globex"]
    with up.state.ledger.read() as connection:
        said = list(connection.execute(select(tables.outbox)))
    assert sorted(event.data["tenant"] for event in said) == ["acme", "globex"]
    assert sorted(event.tenant for event in said) == ["acme", "globex"]


def test_the_metrics_are_of_all_tenants_and_for_one(make_up, login):
    up = make_up()
    for tenant, status in (("acme", 200), ("globex", 403)):
        token = login.token(sub="x", role="admin", tenant=tenant)
        assert ask(up, "metrics", token=token).status_code == status


def test_nobody_takes_the_place_of_anothers_event(make_up, login):
    up = make_up()
    asker = TestClient(up)
    assert announce(asker, of(login, "acme")).status_code == 202
    assert announce(asker, of(login, "acme")).status_code == 202
    assert announce(asker, of(login, "globex")).status_code == 403
    assert list(arrivals_of(up).values()) == ["acme"]


def test_the_status_is_of_the_askers_tenant(make_up, login, tmp_path):
    with opened(tmp_path / "data") as platform:
        write_tenant(platform, "acme")
        write_tenant(platform, "globex")
    up = make_up()
    for tenant in ("acme", "globex"):
        said = TestClient(up).get("/status", headers=of(login, tenant)).json()
        assert (said["tenant"], said["sites"]) == (tenant, [tenant])


def test_a_program_gets_its_token_from_the_login_and_nothing_of_the_api(make_up, login):
    form = {"grant_type": "client_credentials"}
    got = httpx.post(f"{login.url}/token", data=form, auth=(CLIENT, SECRET), trust_env=False)
    headers = {"authorization": f"Bearer {got.json()['access_token']}"}
    asker = TestClient(make_up())
    assert announce(asker, headers).status_code == 202
    for path in ("/api/alerts", "/api/me", "/ogc/collections/alerts/items", "/stac/search"):
        assert asker.get(path, headers=headers).status_code == 403, path


def test_submit_shows_the_token_of_the_settings(make_up, login, monkeypatch):
    up = make_up()
    with served(up) as url:
        with pytest.raises(Forbidden, match="GROUNDSHIFT_TOKEN"):
            submit(["https://s.test/a.json"], data_dir=None, url=url, options={})
        token = login.token(sub="x", role="service", tenant="acme")
        monkeypatch.setenv("GROUNDSHIFT_TOKEN", token)
        (said,) = submit(["https://s.test/a.json"], data_dir=None, url=url, options={})
        assert said.arrival in arrivals_of(up)
