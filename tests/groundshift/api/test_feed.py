"""The feed, and webhooks: in order, at least once, signed, and to public hosts only."""

import asyncio
import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from api_world import BOXES
from sqlalchemy import select

from groundshift import outbound
from groundshift.api.deliver import Deliverer
from groundshift.codec import decode
from groundshift.errors import BadRequest, Unavailable
from groundshift.ledger import tables, webhooks


def events_of(answer):
    return answer.json()["events"]


def raise_alert(world, alert_id="x1", tenant="acme", word="alert.raised", version=1):
    payload = {
        "alert_id": alert_id,
        "site_id": f"site-{tenant}",
        "version": version,
        "state": "first",
        "from_class": "bare",
        "to_class": "built",
        "area_m2": 100.0,
        "probability": 0.5,
    }
    with world.platform.ledger.transaction() as tx:
        return tx.append_feed(
            alert_id=alert_id, type_=word, version=version, payload=payload, tenant=tenant
        )


def test_the_feed_goes_on_where_one_left_it(world):
    client = world.client()
    first = client.get("/api/feed?limit=3")
    assert [e["type"] for e in events_of(first)] == ["alert.raised"] * 3
    last = first.json()["last"]
    rest = client.get(f"/api/feed?after={last}")
    numbers = [e["seq"] for e in (*events_of(first), *events_of(rest))]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == len(BOXES)
    assert events_of(client.get(f"/api/feed?after={rest.json()['last']}")) == []
    new = raise_alert(world)
    (event,) = events_of(client.get(f"/api/feed?after={rest.json()['last']}"))
    assert (event["seq"], event["data"]["alert_id"]) == (new, "x1")
    (follow,) = [link["href"] for link in first.json()["links"] if link["rel"] == "next"]
    assert events_of(client.get(follow))[0]["seq"] == numbers[3]


class Receiver:
    """Somebody's server: answers what it is told and keeps what it gets."""

    def __init__(self):
        self.statuses, self.got = [], []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.got.append((dict(self.headers), body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
                self.send_header("location", "http://127.0.0.1:1/")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?a=b"
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def subjects(self):
        return [json.loads(body)["subject"] for _, body in self.got]


@pytest.fixture
def receiver():
    with Receiver() as started:
        yield started


@pytest.fixture
def world(make_world):
    return make_world(webhook_private=True)


@pytest.fixture
def deliverer(world):
    return Deliverer(world.app.state.services)


def subscribe(world, url, **more):
    answer = world.client("admin").post("/api/webhooks", json={"url": url, **more})
    assert answer.status_code == 201
    return answer.json()


def make_due(world):
    with world.platform.ledger.transaction() as tx:
        tx.execute(tables.webhooks.update().values(next_at=tx.now))


def state_of(world, hook):
    with world.platform.ledger.read() as connection:
        return webhooks.get(connection, "acme", hook["id"])


def test_a_delivery_is_a_signed_event(world, receiver, deliverer):
    hook = subscribe(world, receiver.url)
    raise_alert(world)
    assert deliverer.deliver_due() == 1
    ((headers, body),) = receiver.got
    event = decode(headers, body)
    assert (event.word, event.subject, event.tenant) == ("alert.raised", "x1", "acme")
    signature = dict(part.split("=") for part in headers["Groundshift-Signature"].split(","))
    text = f"{signature['t']}.".encode() + body
    expected = hmac.new(hook["secret"].encode(), text, hashlib.sha256).hexdigest()
    assert signature["v1"] == expected
    listed = world.client("admin").get("/api/webhooks").json()["webhooks"]
    assert [one["id"] for one in listed] == [hook["id"]]
    assert "secret" not in listed[0]


def test_a_delivery_has_the_id_of_the_platforms_own_event(world, receiver, deliverer):
    """So that who listens to both drops one."""
    subscribe(world, receiver.url)
    with world.platform.ledger.transaction() as tx:
        tx.execute(tables.webhooks.update().values(seq=0))
    deliverer.deliver_due()
    got = {json.loads(body)["id"] for _, body in receiver.got}
    said = select(tables.outbox.c.id).where(tables.outbox.c.tenant == "acme")
    with world.platform.ledger.read() as connection:
        assert got == set(connection.execute(said).scalars())


def test_what_was_not_accepted_comes_again_and_nothing_before_it(world, receiver, deliverer):
    hook = subscribe(world, receiver.url)
    for name in ("a1", "a2", "a3"):
        raise_alert(world, name)
    receiver.statuses = [204, 503, 503]
    assert deliverer.deliver_due() == 1
    assert receiver.subjects == ["a1", "a2"]
    waiting = state_of(world, hook)
    assert (waiting.failures, waiting.status, waiting.reason) == (1, 503, "answered 503")
    with world.platform.ledger.transaction() as tx:
        tx.execute(tables.webhooks.update().values(failures=20, next_at=tx.now))
    assert deliverer.deliver_due() == 0
    assert deliverer.deliver_due() == 0  # not due for an hour, so not tried
    assert receiver.subjects == ["a1", "a2", "a2"]
    make_due(world)
    assert deliverer.deliver_due() == 2
    assert receiver.subjects == ["a1", "a2", "a2", "a2", "a3"]
    assert state_of(world, hook).failures == 0
    make_due(world)
    assert deliverer.deliver_due() == 0


def test_a_redirect_is_not_followed(world, receiver, deliverer):
    hook = subscribe(world, receiver.url)
    raise_alert(world)
    receiver.statuses = [302]
    assert deliverer.deliver_due() == 0
    assert state_of(world, hook).reason == "answered 302"


def test_only_what_is_wanted_and_only_of_the_tenant(world, receiver, deliverer):
    subscribe(world, receiver.url, types=["alert.withdrawn"])
    raise_alert(world, "mine")
    raise_alert(world, "mine", word="alert.withdrawn", version=2)
    raise_alert(world, "theirs", tenant="globex", word="alert.withdrawn")
    assert deliverer.deliver_due() == 1
    assert receiver.subjects == ["mine"]
    make_due(world)
    assert deliverer.deliver_due() == 0


def test_two_processes_do_not_deliver_at_once(world, receiver, deliverer):
    hook = subscribe(world, receiver.url)
    raise_alert(world)
    with world.platform.ledger.transaction() as tx:
        assert tx.take_lease(f"webhook/{hook['id']}", owner="another", seconds=60)
    assert deliverer.deliver_due() == 0
    with world.platform.ledger.transaction() as tx:
        tx.release_lease(f"webhook/{hook['id']}", owner="another")
    assert deliverer.deliver_due() == 1


def test_who_fails_for_days_is_paused_until_a_test_passes(world, receiver, deliverer):
    hook = subscribe(world, receiver.url)
    with world.platform.ledger.transaction() as tx:
        tx.execute(tables.webhooks.update().values(failures=39))
    raise_alert(world)
    receiver.statuses = [500]
    deliverer.deliver_due()
    assert state_of(world, hook).state == "paused"
    make_due(world)
    assert deliverer.deliver_due() == 0
    client = world.client("admin")
    receiver.statuses = [500]
    failed = client.post(f"/api/webhooks/{hook['id']}/test").json()
    assert failed == {"accepted": False, "status": 500, "reason": "answered 500"}
    assert state_of(world, hook).state == "paused"
    passed = client.post(f"/api/webhooks/{hook['id']}/test").json()
    assert passed == {"accepted": True, "status": 204, "reason": None}
    assert deliverer.deliver_due() == 1
    assert client.delete(f"/api/webhooks/{hook['id']}").status_code == 204
    assert client.get("/api/webhooks").json()["webhooks"] == []


def test_a_served_app_delivers_by_itself(world, receiver):
    subscribe(world, receiver.url)

    async def serve():
        async with world.app.router.lifespan_context(world.app):
            await asyncio.to_thread(raise_alert, world)
            async with asyncio.timeout(30):
                while not receiver.got:
                    await asyncio.sleep(0.01)

    asyncio.run(serve())
    assert receiver.subjects == ["x1"]


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.org/x",
        "https://127.0.0.1/x",
        "https://localhost/x",
        "https://10.0.0.1/x",
        "https://169.254.169.254/latest",
        "https://[::1]/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://0.0.0.0/x",
        "https://2130706433/x",
        "https://broker.internal/x",
        "https://user:word@hooks.example.org/x",
        "ftp://hooks.example.org/x",
        "https://hooks.example.org:99999/x",
        "https:///x",
        "nothing",
    ],
)
def test_a_webhook_leads_to_a_public_host(make_world, url):
    world = make_world()
    answer = world.client("admin").post("/api/webhooks", json={"url": url})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("ip", ["127.0.0.1", "10.1.2.3", "fd00::1", "169.254.169.254", "224.0.0.1"])
def test_a_name_that_leads_home_is_not_called(ip):
    with pytest.raises(BadRequest, match="not public"):
        outbound.post(
            "https://hooks.example.org/x",
            b"",
            {},
            private=False,
            resolve=lambda *_: ["93.184.216.34", ip],
        )


def test_a_name_without_an_address_is_tried_again():
    def resolve(*_):
        raise OSError("no such host")

    with pytest.raises(Unavailable, match="no address"):
        outbound.post("https://a.example.org", b"", {}, private=False, resolve=resolve)


def test_the_address_that_was_checked_is_the_one_that_is_called(receiver):
    port = receiver.server.server_port
    status = outbound.post(
        f"http://hooks.example.org:{port}/hook",
        b"{}",
        {"content-type": "application/json"},
        private=True,
        resolve=lambda *_: ["127.0.0.1"],
    )
    assert status == 204
    assert receiver.got[0][0]["Host"] == f"hooks.example.org:{port}"
