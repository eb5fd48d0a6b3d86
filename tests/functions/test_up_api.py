"""`groundshift up`: the API beside the intake, and the dispatcher behind it."""

import asyncio

import httpx
from api_world import opened, write_tenant

from functions.commands.up import create_app
from functions.local import Embedded
from functions.metrics import DispatchMetrics

LONGEST_S = 60


def test_a_verdict_through_the_api_becomes_a_label_by_the_dispatcher(tmp_path):
    with opened(tmp_path, backoff_scale=0.01) as platform:
        write_tenant(platform, "acme")
        app = create_app(Embedded(platform, DispatchMetrics(), platform.models, None))
        asyncio.run(_review_and_wait(app))


async def _review_and_wait(app):
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 40000))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        assert (await client.get("/healthz")).text == "ok"
        assert (await client.get("/api/nothing")).headers["content-type"].endswith("problem+json")
        alert = (await client.get("/api/queue")).json()["queue"][0]
        review = {"alert_id": alert["alert_id"], "alert_version": 1, "verdict": "accept"}
        assert (await client.post("/api/reviews", json=review)).status_code == 201
        async with asyncio.timeout(LONGEST_S):
            while not (found := (await client.get("/api/labels?current=true")).json()["labels"]):
                await asyncio.sleep(0.02)
    assert found[0]["tenant"] == "acme"
    assert found[0]["counts"]["changed"] > 0
