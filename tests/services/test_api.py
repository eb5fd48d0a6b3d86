"""The API says the same over PostgreSQL as over SQLite: reads, verdicts, locks, webhooks."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from api_world import AUDIENCE, BOXES, ISSUER, World, opened, verifier, write_tenant
from joserfc.jwk import RSAKey

from groundshift.api import create_api

READS = (
    "/api/alerts",
    "/api/alerts?shape=box",
    "/api/alerts?limit=1",
    "/api/alerts?reviewed=false&state=first",
    "/api/alerts?reviewed=true",
    "/api/alerts?bbox=-180,-90,180,90&min_probability=0.5&min_area_m2=1&since=2024-01-01T00:00:00Z",
    "/api/queue",
    "/api/reviews",
    "/api/labels",
    "/api/scenes",
    "/api/scenes?outcome=done",
    "/api/runs",
    "/api/runs?current=true",
    "/api/gaps",
    "/api/sites",
    "/api/stats",
    "/api/models",
    "/api/feed",
    "/ogc/collections/alerts/items",
    "/ogc/collections/alerts/items?bbox=-10,-10,60,60&to_class=built",
    "/ogc/collections/changes/items",
    "/ogc/collections/changes/items?limit=1&offset=1",
    "/stac/collections",
    "/stac/search?limit=1",
)
NOW = re.compile(rf'"{datetime.now(UTC).year}-[^"]*"|"seconds":[0-9.e-]+|(expires|signature)=\w+')


@pytest.fixture
def worlds(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[World]]:
    """The same world twice: over SQLite, and over PostgreSQL."""
    key = RSAKey.generate_key(2048, {"kid": "k1", "use": "sig"})
    with ExitStack() as stack:
        made = []
        for url in ("", database):
            folder = tmp_path_factory.mktemp("world")
            login = {"oidc_issuer": ISSUER, "oidc_audience": AUDIENCE}
            platform = stack.enter_context(opened(folder, database_url=url, **login))
            for tenant in ("acme", "globex"):
                write_tenant(platform, tenant)
            app = create_api(
                settings=platform.settings,
                ledger=platform.ledger,
                store=platform.store,
                tokens=verifier(key),
            )
            made.append(World(platform, app, key))
        yield made


def said(world: World, path: str) -> str:
    """An answer without the moment at which it was made."""
    with world.client() as client:
        answer = client.get(path)
    assert answer.status_code == 200, f"{path}: {answer.text}"
    return NOW.sub("NOW", answer.text)


def act(world: World) -> list[Any]:
    """Two analysts lock, judge and disagree; an administrator subscribes. What was answered."""
    house, flood = world.alert("house"), world.alert("flood")
    with world.client(user="ann") as ann, world.client(user="bob") as bob:
        taken = [ann.post("/api/queue/next").json()["alert_id"]]
        taken.append(bob.post("/api/queue/next").json()["alert_id"])
        verdicts = [
            who.post(
                "/api/reviews",
                json={"alert_id": one["id"], "alert_version": version, "verdict": verdict},
            ).status_code
            for who, one, version, verdict in (
                (ann, house, house["properties"]["version"], "accept"),
                (bob, house, house["properties"]["version"], "reject"),
                (ann, house, house["properties"]["version"], "accept"),
                (ann, flood, flood["properties"]["version"] + 1, "accept"),
            )
        ]
    with world.client(role="admin", user="eve") as eve:
        hook = eve.post("/api/webhooks", json={"url": "https://example.com/hook"})
        gone = eve.delete(f"/api/webhooks/{hook.json()['id']}").status_code
    return [*taken, *verdicts, hook.status_code, gone]


def test_every_answer_is_the_same_over_both(worlds: list[World]) -> None:
    here, there = worlds
    done = act(here)
    assert act(there) == done
    assert done[0] != done[1], "two analysts were given the same alert"
    assert done[2:] == [201, 201, 200, 409, 201, 204]
    for path in READS:
        mine = said(here, path)
        ids = re.compile(r'"review_id":"[^"]*"|"id":"rev[^"]*"')
        assert ids.sub("", said(there, path)) == ids.sub("", mine), path
        assert "acme" in mine or "house" in mine or len(mine) > 2, path
        assert "globex" not in mine, path


def test_analysts_who_ask_at_once_are_never_given_the_same_alert(worlds: list[World]) -> None:
    _, there = worlds

    def ask(user: str, start: threading.Barrier) -> str:
        with there.client(user=user) as client:
            start.wait(30)
            answer = client.post("/api/queue/next")
            assert answer.status_code == 200, answer.text
        return str(answer.json()["alert_id"])

    users = [f"user{number}" for number in range(len(BOXES))]
    for _ in range(10):
        start = threading.Barrier(len(users))
        with ThreadPoolExecutor(len(users)) as pool:
            given = list(pool.map(partial(ask, start=start), users))
        assert len(set(given)) == len(users)
        for user, alert_id in zip(users, given, strict=True):
            with there.client(user=user) as client:
                assert client.delete(f"/api/queue/{alert_id}/lock").status_code == 204
