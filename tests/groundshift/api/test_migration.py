"""A ledger of the first revision keeps its alerts, and they get a place on the map."""

from datetime import UTC, datetime

import orjson
import shapely
from alembic import command
from sqlalchemy import MetaData, Table, create_engine, select

from groundshift.ledger import Ledger, alert_views, migrate
from groundshift.ledger.alert_views import AlertFilter

AT = datetime(2024, 6, 1, tzinfo=UTC).replace(tzinfo=None)
SHAPE = shapely.box(2.0, 48.0, 2.5, 48.25)


def rows():
    outline = orjson.dumps(shapely.geometry.mapping(SHAPE)).decode()
    extent = {"top": 0, "left": 0, "bottom": 1, "right": 1}
    site = {"id": "s", "tenant": "acme", "name": "s", "geometry": outline, "epsg": 32631, **extent}
    alert = {
        "id": "a",
        "tenant": "acme",
        "site_id": "s",
        "state": "first",
        "from_class": "tree",
        "to_class": "bare",
        "geometry": outline,
        "area_m2": 1.0,
        "probability": 0.5,
        "first_seen": AT,
        "last_seen": AT,
        "first_scene": "x",
        "supports": 0,
        "evidence": {},
        "version": 1,
        "created": AT,
        "updated": AT,
        "actor": "track",
    }
    return {"sites": {**site, "created": AT, "actor": "x"}, "alerts": alert}


def test_alerts_of_the_first_revision_are_found_by_place(tmp_path):
    url = f"sqlite:///{tmp_path}/ledger.db"
    engine, config = create_engine(url), migrate.alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for name, row in rows().items():
            table = Table(name, MetaData(), autoload_with=connection)
            connection.execute(table.insert().values(row))
    engine.dispose()
    with Ledger.open(url) as ledger, ledger.read() as connection:
        now = ledger.clock.now()
        inside, beside = (
            alert_views.page(connection, "acme", AlertFilter(bbox=box), limit=9, now=now)[0]
            for box in ((2.4, 48.2, 3.0, 49.0), (3.0, 48.2, 4.0, 49.0))
        )
        assert (inside, beside) == (1, 0)
        (stored,) = connection.execute(select(alert_views.tables.alerts)).all()
        assert (stored.west, stored.north) == (2.0, 48.25)
