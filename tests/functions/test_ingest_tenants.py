"""Whose scene it becomes, and whose files nobody reads by announcing them."""

from datetime import UTC, datetime

import pytest
from api_world import opened, write_tenant
from sqlalchemy import select

from functions.ingest import ingest
from geodata_etl.simulate import SiteSpec, simulate_site, write_scene
from groundshift import keys
from groundshift.events import SceneArrived, new_event
from groundshift.ledger import scenes, tables

START = datetime(2024, 5, 1, 10, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def item(tmp_path_factory):
    site = simulate_site(SiteSpec(seed=3, size_px=256))
    return write_scene(site.scene(START), site, tmp_path_factory.mktemp("scenes"))


@pytest.fixture
def platform(tmp_path, item):
    with opened(tmp_path / "data", allowed_roots=(item.parent,)) as found:
        yield found


def arrived(href, *, named=None, told=None):
    """An announcement whose data and whose envelope may each name a tenant."""
    data = SceneArrived.fit({"href": str(href), **({"tenant": named} if named else {})})
    return new_event(data, source="cam", subject=str(href), time=START, tenant=told)


@pytest.mark.parametrize(
    ("named", "told", "owner"),
    [(None, None, "acme"), ("globex", None, "globex"), (None, "globex", "globex")],
    ids=["nobody", "data", "envelope"],
)
def test_a_scene_belongs_to_whom_the_event_names(platform, item, named, told, owner):
    ingest(arrived(item, named=named, told=told), platform)
    with platform.ledger.read() as connection:
        (arrival,) = connection.execute(select(tables.arrivals))
        (site,) = scenes.sites_of(connection, owner)
        (scene,) = scenes.all_of(connection, owner)
    assert (arrival.tenant, arrival.state) == (owner, "ready")
    assert (site.tenant, scene.tenant) == (owner, owner)


def test_nobody_gets_anothers_scene_by_announcing_its_file(platform):
    write_tenant(platform, "acme")
    inside = platform.settings.data_dir / "objects" / keys.scene_cog("acme-after")
    assert inside.exists()
    for href in (inside, inside.parent, inside.parent.parent, inside.parent / "item.json"):
        ingest(arrived(href, told="globex"), platform)
    with platform.ledger.read() as connection:
        said = list(connection.execute(select(tables.arrivals)))
        assert scenes.all_of(connection, "globex") == []
    assert {(row.state, row.reason) for row in said} == {("refused", "href_forbidden")}
    assert len(said) == 4
