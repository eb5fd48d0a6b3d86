"""The review stage: verdicts become verified tiles, whatever comes twice or out of order."""

import io
import itertools
import shutil

import numpy as np
import orjson
import rasterio
import shapely
from api_world import BOXES, EXTENT, TILE, UNSEEN, degrees, opened, outline
from fastapi.testclient import TestClient
from sqlalchemy import select

from functions.review import review
from geodata_etl.bands import Cover
from geodata_etl.grid import HALO_PX
from groundshift.api import create_api
from groundshift.events import Event, LabelAccepted, event_type
from groundshift.labels import Judged, fold_masks, label_key
from groundshift.ledger import labels, tables

NEVER = 255


def say(platform, name, verdict, *, user="ann", **more):
    """Review an alert through the API; the event that the stage gets."""
    settings = platform.settings.model_copy(update={"local_user": user})
    app = create_api(settings=settings, ledger=platform.ledger, store=platform.store)
    client = TestClient(app, base_url="http://localhost", client=("127.0.0.1", 1))
    _, _, before, after = BOXES[name]
    query = {"from_class": before, "to_class": after}
    (alert,) = client.get("/api/alerts", params=query).json()["features"]
    body = {"alert_id": alert["id"], "alert_version": 1, "verdict": verdict, **more}
    assert client.post("/api/reviews", json=body).status_code == 201
    return said(platform, "alert.reviewed")[-1]


def said(platform, word):
    table = tables.outbox
    query = select(table).where(table.c.type == event_type(word)).order_by(table.c.seq)
    with platform.ledger.read() as connection:
        return [
            Event(r.id, r.source, r.type, r.subject, r.time, r.data, r.extensions)
            for r in connection.execute(query)
        ]


def current(platform):
    with platform.ledger.read() as connection:
        return labels.of_tenant(connection, "acme", current=True)


def layer(platform, label, name="mask.tif"):
    with rasterio.open(io.BytesIO(platform.store.get(label_key(label.version, name)))) as raster:
        return raster.read()


def on_tile(box):
    """Rows and columns of a box of the grid, in a tile with its halo."""
    rows, cols = box[:2]
    down, right = EXTENT.top - TILE.extent.top, EXTENT.left - TILE.extent.left
    return (
        slice(rows.start + down, rows.stop + down),
        slice(cols.start + right, cols.stop + right),
    )


def test_an_accepted_alert_is_a_verified_change(platform):
    review(say(platform, "house", "accept"), platform)
    (label,) = current(platform)
    change, before, after = layer(platform, label)
    inside = on_tile(BOXES["house"])
    assert (change[inside] == 1).all()
    assert (before[inside] == Cover.LOW_VEGETATION).all()
    assert (after[inside] == Cover.BUILT).all()
    assert (change == NEVER).sum() == change.size - 600  # nobody looked at the rest
    assert label.counts["changed"] == 600
    assert label.counts["pairs"] == {"low_vegetation -> built": 600}


def test_a_label_holds_the_pixels_of_both_dates_on_the_grid(platform):
    review(say(platform, "house", "accept"), platform)
    (label,) = current(platform)
    scene = on_tile((slice(0, 256), slice(0, 256)))
    for name, scene_id in (("before.tif", "acme-before"), ("after.tif", "acme-after")):
        with rasterio.open(platform.store.url(f"scenes/{scene_id}/scene.tif")) as raster:
            expected = raster.read()
        shown = layer(platform, label, name)
        np.testing.assert_array_equal(shown[:, *scene], expected)
        assert not shown[:, :HALO_PX].any()  # north of the scene
    record = orjson.loads(platform.store.get(label_key(label.version, "label.json")))
    assert record["after"] == "acme-after"
    assert record["before"] == ["acme-before"]
    assert record["licence"] == "proprietary"
    assert record["reviews"] == label.reviews
    assert record["models"][1] == {"name": "segmenter", "digest": "sha256:segmenter"}


def test_a_rejected_alert_is_verified_as_unchanged_where_it_was_seen(platform):
    review(say(platform, "cloudy", "reject"), platform)
    (label,) = current(platform)
    change = layer(platform, label)[0]
    inside = on_tile(BOXES["cloudy"])
    assert set(np.unique(change[inside])) == {0, NEVER}
    assert (change[on_tile(UNSEEN)] == NEVER).all()  # under the cloud nobody saw anything
    assert label.counts == {
        "changed": 0,
        "unchanged": 800,
        "ignored": 448 * 448 - 800,
        "pairs": {},
    }


def test_a_redrawn_alert_is_changed_inside_and_unchanged_in_the_rest(platform):
    rows, cols, *_ = BOXES["house"]
    half = shapely.box(*outline("house").bounds).intersection(
        shapely.affinity.translate(outline("house"), xoff=-150)
    )
    review(say(platform, "house", "redraw", geometry=degrees(half), to_class="bare"), platform)
    (label,) = current(platform)
    change, _, after = layer(platform, label)
    west = on_tile((rows, slice(cols.start, cols.start + 15)))
    east = on_tile((rows, slice(cols.start + 15, cols.stop)))
    assert (change[west] == 1).all()
    assert (after[west] == Cover.BARE).all()
    assert (change[east] == 0).all()


def test_ignored_ground_is_no_part_of_the_label(platform):
    rows, cols, *_ = BOXES["house"]
    west = outline("house").intersection(shapely.affinity.translate(outline("house"), xoff=-150))
    review(say(platform, "house", "accept", ignore=degrees(west)), platform)
    (label,) = current(platform)
    change = layer(platform, label)[0]
    assert (change[on_tile((rows, slice(cols.start, cols.start + 15)))] == NEVER).all()
    assert (change[on_tile((rows, slice(cols.start + 15, cols.stop)))] == 1).all()
    assert label.counts["changed"] == 300


def test_what_one_reviewer_leaves_out_no_other_brings_back(platform):
    whole = degrees(outline("house").buffer(20))
    review(say(platform, "house", "accept", user="ann", ignore=whole), platform)
    assert current(platform) == []
    review(say(platform, "house", "accept", user="bob"), platform)
    assert current(platform) == []
    review(say(platform, "house", "accept", user="ann"), platform)  # thinks again
    (label,) = current(platform)
    assert label.counts["changed"] == 600


def test_ignored_ground_reaches_the_labels_of_other_alerts(platform):
    review(say(platform, "flood", "reject"), platform)
    (before,) = current(platform)
    review(say(platform, "house", "accept", ignore=degrees(outline("flood"))), platform)
    (label,) = current(platform)
    assert before.counts["unchanged"] == 1000
    assert (label.counts["unchanged"], label.counts["changed"]) == (0, 600)


def test_an_unsure_verdict_makes_no_label(platform):
    review(say(platform, "house", "unsure"), platform)
    assert current(platform) == []
    assert said(platform, LabelAccepted.WORD) == []


def test_the_same_event_twice_is_handled_once(platform):
    event = say(platform, "house", "accept")
    review(event, platform)
    before = sorted(platform.store.list("labels/"))
    review(event, platform)
    assert sorted(platform.store.list("labels/")) == before
    (accepted,) = said(platform, LabelAccepted.WORD)
    (label,) = current(platform)
    assert LabelAccepted.of(accepted).version == label.version == accepted.subject
    assert accepted.tenant == "acme"


def test_the_order_of_reviews_does_not_matter(template, tmp_path):
    versions = set()
    for number, order in enumerate(itertools.permutations(range(3))):
        folder = tmp_path / str(number)
        shutil.copytree(template, folder)
        with opened(folder) as platform:
            events = [
                say(platform, name, verdict)
                for name, verdict in zip(BOXES, ("accept", "reject", "accept"), strict=False)
            ]
            for index in order:
                review(events[index], platform)
            (label,) = current(platform)
            versions.add(label.version)
            assert label.counts["unchanged"] == 60 * 80
    assert len(versions) == 1


def test_where_reviewers_disagree_nobody_vouches(platform):
    review(say(platform, "house", "accept", user="ann"), platform)
    review(say(platform, "house", "reject", user="bob"), platform)
    assert current(platform) == []
    with platform.ledger.read() as connection:
        assert len(labels.of_tenant(connection, "acme")) == 1  # the older version stays
    review(say(platform, "house", "accept", user="bob"), platform)
    (label,) = current(platform)
    assert label.counts["changed"] == 600
    assert len(label.reviews) == 2


def test_who_thinks_again_replaces_what_they_said(platform):
    review(say(platform, "house", "accept"), platform)
    (first,) = current(platform)
    review(say(platform, "house", "reject"), platform)
    (second,) = current(platform)
    assert first.version != second.version
    assert (second.counts["changed"], second.counts["unchanged"]) == (0, 600)


def test_an_alert_over_two_tiles_gives_each_pixel_to_one():
    core = TILE.core
    east = type(TILE)(TILE.row, TILE.col + 1)
    left, top = (core.right - 10) * 10, -(core.top + 5) * 10
    shape = shapely.box(left, top - 100, left + 200, top)
    judged = [Judged("r1", "accept", shape, None, "bare", "built")]
    seen = np.ones((512, 512), np.bool_)
    counts = [int((fold_masks(judged, tile, seen)[0] == 1).sum()) for tile in (TILE, east)]
    assert counts == [100, 100]
