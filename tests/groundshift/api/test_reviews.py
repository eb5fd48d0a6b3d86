"""/api/reviews and /api/queue: verdicts, disagreement, locks."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import shapely
from api_world import BOXES, degrees, outline
from sqlalchemy import select

from groundshift.events import AlertReviewed, event_type
from groundshift.ledger import tables


def review(alert, verdict="accept", **more):
    version = alert["properties"]["version"]
    return {"alert_id": alert["id"], "alert_version": version, "verdict": verdict, **more}


def outbox(world, word):
    query = select(tables.outbox).where(tables.outbox.c.type == event_type(word))
    with world.platform.ledger.read() as connection:
        return list(connection.execute(query.order_by(tables.outbox.c.seq)))


def queue(client):
    return [row["alert_id"] for row in client.get("/api/queue").json()["queue"]]


def test_a_review_is_kept_with_who_when_version_and_models(world):
    client, alert = world.client(user="ann"), world.alert("house")
    answer = client.post("/api/reviews", json=review(alert, comment="a new hall"))
    assert answer.status_code == 201
    said = answer.json()
    assert (said["reviewer"], said["verdict"], said["comment"]) == ("ann", "accept", "a new hall")
    assert (said["alert_version"], said["run_id"]) == (1, "run-acme")
    assert said["models"][0] == {"name": "cloud-mask", "digest": "sha256:cloud-mask"}
    assert (said["from_class"], said["to_class"]) == ("low_vegetation", "built")
    listed = client.get("/api/reviews", params={"alert_id": alert["id"]}).json()["reviews"]
    assert [one["id"] for one in listed] == [said["id"]]
    (latest,) = world.alert("house")["properties"]["verdict"]
    assert (latest["reviewer"], latest["verdict"], latest["review_id"]) == (
        "ann",
        "accept",
        said["id"],
    )


def test_each_review_is_an_event(world):
    alert = world.alert("house")
    world.client(user="ann").post("/api/reviews", json=review(alert))
    world.client(user="bob").post("/api/reviews", json=review(alert, "reject"))
    first, second = outbox(world, AlertReviewed.WORD)
    assert first.subject == second.subject == alert["id"]
    assert first.id != second.id
    assert first.extensions == {"tenant": "acme", "actor": "ann"}
    assert second.data["verdict"] == "reject"


def test_the_same_verdict_again_is_the_same_review(world):
    client, alert = world.client(), world.alert("house")
    first = client.post("/api/reviews", json=review(alert))
    again = client.post("/api/reviews", json=review(alert))
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert len(outbox(world, AlertReviewed.WORD)) == 1


def test_who_thinks_again_leaves_another_review(world):
    client, alert = world.client(), world.alert("house")
    numbers = [
        client.post("/api/reviews", json=review(alert, verdict)).json()["number"]
        for verdict in ("accept", "reject", "accept")
    ]
    assert numbers == [1, 2, 3]
    (latest,) = world.alert("house")["properties"]["verdict"]
    assert latest["verdict"] == "accept"


def test_disagreement_is_kept_and_asks_for_a_third(world):
    alert = world.alert("house")
    world.client(user="ann").post("/api/reviews", json=review(alert))
    assert alert["id"] not in queue(world.client(user="bob"))
    world.client(user="bob").post("/api/reviews", json=review(alert, "reject"))
    said = world.alert("house")["properties"]["verdict"]
    assert {(one["reviewer"], one["verdict"]) for one in said} == {
        ("ann", "accept"),
        ("bob", "reject"),
    }
    first = world.client(user="eve").get("/api/queue").json()["queue"][0]
    assert first["alert_id"] == alert["id"]
    assert "reviewers disagree" in first["why"]
    assert alert["id"] not in queue(world.client(user="ann"))


def test_a_verdict_on_another_version_is_a_conflict(world):
    alert = world.alert("house")
    with world.platform.ledger.transaction() as tx:
        tx.execute(tables.alerts.update().values(version=2))
    answer = world.client().post("/api/reviews", json=review(alert))
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert "version 2" in answer.json()["detail"]
    assert outbox(world, AlertReviewed.WORD) == []


def test_a_redrawn_polygon_is_kept(world):
    alert, drawn = world.alert("house"), degrees(outline("house").buffer(-50))
    body = review(alert, "redraw", geometry=drawn, to_class="bare")
    said = world.client().post("/api/reviews", json=body).json()
    assert said["geometry"]["type"] == "Polygon"
    assert (said["from_class"], said["to_class"]) == ("low_vegetation", "bare")


BOW = [[[2.3, 48.65], [2.31, 48.66], [2.31, 48.65], [2.3, 48.66], [2.3, 48.65]]]


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"verdict": "redraw"}, 400),
        ({"verdict": "accept", "geometry": degrees(outline("house"))}, 400),
        ({"verdict": "redraw", "geometry": {"type": "Point", "coordinates": [1, 2]}}, 400),
        ({"verdict": "redraw", "geometry": {"type": "Polygon", "coordinates": BOW}}, 400),
        ({"verdict": "redraw", "geometry": {"type": "Polygon", "coordinates": [[]]}}, 400),
        ({"verdict": "redraw", "geometry": {"type": "Polygon"}}, 400),
        (
            {
                "verdict": "redraw",
                "geometry": {
                    "type": "Polygon",
                    "coordinates": [[[48.65, 2.3], [48.66, 2.3], [48.66, 2.31], [48.65, 2.3]]],
                },
            },
            400,
        ),
        ({"verdict": "maybe"}, 422),
        ({"verdict": "accept", "to_class": "castle"}, 422),
        ({"verdict": "accept", "reviewer": "somebody else"}, 422),
    ],
)
def test_what_is_no_verdict_is_refused(world, more, status):
    answer = world.client().post("/api/reviews", json=review(world.alert("house"), **more))
    assert answer.status_code == status
    assert outbox(world, AlertReviewed.WORD) == []


def test_the_queue_ranks_what_waits_and_says_why(world):
    client = world.client()
    rows = client.get("/api/queue").json()
    assert rows["numberMatched"] == len(BOXES)
    scores = [row["score"] for row in rows["queue"]]
    assert scores == sorted(scores, reverse=True)
    assert all(row["why"] for row in rows["queue"])
    first = rows["queue"][0]["alert_id"]
    client.post("/api/reviews", json={"alert_id": first, "alert_version": 1, "verdict": "unsure"})
    assert first not in queue(client)
    assert first in queue(world.client(user="bob"))


def test_two_analysts_never_get_the_same_alert(world):
    ann, bob = world.client(user="ann"), world.client(user="bob")
    mine = ann.post("/api/queue/next").json()["alert_id"]
    theirs = bob.post("/api/queue/next").json()["alert_id"]
    assert mine != theirs
    assert mine not in queue(bob)
    assert mine in queue(ann)
    refused = bob.post(f"/api/queue/{mine}/lock")
    assert refused.status_code == 409
    assert "ann" in refused.json()["detail"]
    assert ann.post("/api/queue/next").json()["alert_id"] == mine  # a reload loses nothing


def test_many_at_once_all_get_different_ones(world):
    start = threading.Barrier(len(BOXES))

    def take(user):
        client = world.client(user=user)
        start.wait()
        return client.post("/api/queue/next").json()["alert_id"]

    users = [f"user{i}" for i in range(len(BOXES))]
    with ThreadPoolExecutor(len(users)) as pool:
        assert len(set(pool.map(take, users))) == len(users)
    assert world.client(user="late").post("/api/queue/next").status_code == 204


def test_a_lock_ends_by_itself_by_giving_back_and_by_a_review(world):
    ann, bob, alert = world.client(user="ann"), world.client(user="bob"), world.alert("house")
    path = f"/api/queue/{alert['id']}/lock"
    assert ann.post(path).status_code == 200
    assert world.alert("house")["properties"]["locked_by"] == "ann"
    assert bob.delete(path).status_code == 204  # not bob's to give back
    assert bob.post(path).status_code == 409
    assert ann.delete(path).status_code == 204
    assert bob.post(path).status_code == 200
    bob.post("/api/reviews", json=review(alert, "unsure"))
    assert world.alert("house")["properties"]["locked_by"] is None
    ann.post(path)
    with world.platform.ledger.transaction() as tx:
        past = tx.now - timedelta(seconds=1)
        tx.execute(tables.locks.update().values(until=past))
    assert bob.post(path).status_code == 200


def test_reviews_page_newest_first(world):
    client = world.client()
    for name in BOXES:
        client.post("/api/reviews", json=review(world.alert(name)))
    first = client.get("/api/reviews?limit=3").json()
    (link,) = [link["href"] for link in first["links"] if link["rel"] == "next"]
    rest = client.get(link).json()
    seen = [one["alert_id"] for one in (*first["reviews"], *rest["reviews"])]
    assert sorted(seen) == sorted(world.alert(name)["id"] for name in BOXES)
    assert client.get("/api/alerts?reviewed=true").json()["numberMatched"] == len(BOXES)


# Ignored ground


def test_ignored_ground_is_kept_with_the_verdict(world):
    alert, left_out = world.alert("house"), degrees(outline("house").buffer(-50))
    client = world.client()
    said = client.post("/api/reviews", json=review(alert, ignore=left_out)).json()
    assert said["ignore"]["type"] == "Polygon"
    assert said["geometry"] is None
    again = client.post("/api/reviews", json=review(alert, ignore=left_out))
    assert again.status_code == 200  # the same is the same
    assert client.post("/api/reviews", json=review(alert)).status_code == 201  # without is another


@pytest.mark.parametrize(
    "more",
    [
        {"verdict": "unsure", "ignore": degrees(outline("house"))},
        {"ignore": {"type": "Point", "coordinates": [1, 2]}},
        {"ignore": degrees(shapely.box(0, 0, 1000, 1000))},
        {"ignore": {"type": "Polygon", "coordinates": [[[0, 0], [90, 0], [90, 80], [0, 0]]]}},
    ],
)
def test_ignored_ground_that_means_nothing_is_refused(world, more):
    answer = world.client().post("/api/reviews", json=review(world.alert("house"), **more))
    assert answer.status_code == 400
    assert outbox(world, AlertReviewed.WORD) == []


# Whoever labels has the tile alone


def test_who_labels_has_the_whole_tile_to_themselves(world):
    ann, bob = world.client(user="ann"), world.client(user="bob")
    house, flood = world.alert("house")["id"], world.alert("flood")["id"]  # of one tile
    held = ann.post(f"/api/queue/{house}/lock", params={"labelling": True}).json()
    assert held["labelling"] is True
    (box,) = held["boxes"]
    west, south, east, north = world.alert("flood")["bbox"]
    assert box[0] < west < east < box[2]
    assert box[1] < south < north < box[3]
    for labelling in (True, False):
        refused = bob.post(f"/api/queue/{flood}/lock", params={"labelling": labelling})
        assert refused.status_code == 409
        assert "ann has the same tile" in refused.json()["detail"]
    assert queue(bob) == []
    assert bob.post("/api/queue/next").status_code == 204
    assert flood in queue(ann)
    (seen,) = bob.get("/api/queue/held").json()["held"]
    assert (seen["alert_id"], seen["locked_by"], seen["boxes"]) == (house, "ann", [box])
    assert ann.get("/api/queue/held").json()["held"] == []
    assert world.client(tenant="globex").get("/api/queue/held").json()["held"] == []
    ann.delete(f"/api/queue/{house}/lock")
    assert bob.post(f"/api/queue/{flood}/lock", params={"labelling": True}).status_code == 200


def test_nobody_labels_a_tile_that_another_reviews(world):
    ann, bob = world.client(user="ann"), world.client(user="bob")
    house, flood = world.alert("house")["id"], world.alert("flood")["id"]
    assert ann.post(f"/api/queue/{house}/lock").status_code == 200
    assert bob.post(f"/api/queue/{flood}/lock", params={"labelling": True}).status_code == 409
    assert bob.post("/api/queue/next", params={"labelling": True}).status_code == 204
    assert bob.post(f"/api/queue/{flood}/lock").status_code == 200  # to look is to share
