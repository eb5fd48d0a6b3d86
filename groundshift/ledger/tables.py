"""The ledger's tables (SQLAlchemy Core). The schema's history is in `migrations`.

Times are aware UTC datetimes. Extents are lattice pixels of the site's UTM zone,
``[top, bottom) x [left, right)``. Geometries are GeoJSON text, EPSG:4326 unless said.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime in UTC; SQLite, which knows no zones, stores it without."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 the base's signature
        """To UTC. Raises ValueError for a naive datetime."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone: pass an aware datetime")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 the base's signature
        """Back to aware UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[str]:
    return Column("id", Text, primary_key=True)


def _text(name: str, **options: Any) -> Column[str]:
    return Column(name, Text, nullable=False, **options)


def _maybe(name: str) -> Column[str]:
    return Column(name, Text)


def _time(name: str) -> Column[datetime]:
    return Column(name, UtcTime, nullable=False)


def _json(name: str) -> Column[Any]:
    return Column(name, JSON, nullable=False)


def _whole(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False)


def _real(name: str) -> Column[float]:
    return Column(name, Float, nullable=False)


def _ref(name: str, target: str, **options: Any) -> Column[Any]:
    return Column(name, ForeignKey(target), nullable=False, **options)


def _seq() -> Column[int]:
    return Column("seq", Integer, primary_key=True, autoincrement=True)


def _extent() -> list[Column[int]]:
    return [_whole("top"), _whole("left"), _whole("bottom"), _whole("right")]


sites: Final = Table(
    "sites",
    metadata,
    _id(),
    _text("tenant", index=True),
    _text("name"),
    _text("geometry"),  # polygon, GeoJSON, EPSG:4326
    _whole("epsg"),  # UTM zone of the centroid, 326xx or 327xx
    *_extent(),
    _maybe("reference_scene_id"),  # the alignment reference: its first good scene
    _time("created"),
    _text("actor"),
)

arrivals: Final = Table(
    "arrivals",
    metadata,
    _seq(),
    _text("id", unique=True),  # outbox.arrival_id: digest of (source, event id)
    _text("tenant"),
    _text("href"),
    _json("options"),  # scene.arrived's data without href
    _text("state", index=True),  # arrived | ready | refused | failed
    _maybe("reason"),
    _maybe("message"),
    _whole("attempt"),
    _time("created"),
    Column("resolved", UtcTime),
    _text("actor"),
)

scenes: Final = Table(
    "scenes",
    metadata,
    _id(),  # STAC id + digest of the ingested COG
    Column("arrival_id", ForeignKey("arrivals.id"), index=True),
    _text("stac_id"),
    _text("tenant"),
    _ref("site_id", "sites.id"),
    _time("acquired"),
    _text("sensor"),
    _text("digest"),  # sha256:... of the COG
    *_extent(),
    _real("valid_fraction"),  # of the extent
    _real("shift_y"),  # px of 10 m that were corrected, rows southwards
    _real("shift_x"),
    _real("shift_spread"),  # px, disagreement of the windows that measured the shift
    _text("shift_state"),  # reference | measured | unmeasured ...
    _text("outcome"),  # ready | skipped | done | failed
    _maybe("reason"),
    _maybe("message"),
    _time("created"),
    _text("actor"),
    Index(None, "site_id", "acquired", "id"),
)

runs: Final = Table(
    "runs",
    metadata,
    _id(),
    _text("tenant"),
    _ref("site_id", "sites.id"),
    _ref("scene_id", "scenes.id", index=True),
    _text("kind"),  # change | prime
    _json("baseline"),  # scene ids, most recent first
    _json("model_set"),  # [{name, revision, digest, signature, url}] x 3
    _json("params"),
    _text("state"),  # planned | done | superseded | failed
    Column("current", Boolean, nullable=False),
    _whole("attempt"),  # raised by each re-plan of the same run id
    _maybe("reason"),
    _maybe("message"),
    _json("summary"),
    _time("created"),
    Column("finished", UtcTime),
    _text("actor"),
    Index(None, "site_id", "current"),
)

blocks: Final = Table(
    "blocks",
    metadata,
    _ref("run_id", "runs.id", primary_key=True),
    Column("block", Text, primary_key=True),
    _text("state"),  # ready | done
    Column("finished", UtcTime),
)

changes: Final = Table(
    "changes",
    metadata,
    _ref("run_id", "runs.id", primary_key=True),
    Column("id", Text, primary_key=True),
    _whole("seq"),  # order within the run
    _text("geometry"),  # WKB in hex, UTM of the site
    _text("from_class"),
    _text("to_class"),
    _real("area_m2"),
    _whole("pixels"),
    _real("mean_probability"),
    _real("max_probability"),
    _real("observed_fraction"),
    _time("before"),
    _time("after"),
)

alerts: Final = Table(
    "alerts",
    metadata,
    _id(),
    _text("tenant"),
    _ref("site_id", "sites.id", index=True),
    _text("state", index=True),  # first | provisional | confirmed | finished | withdrawn
    _maybe("reason"),  # of a withdrawal: contradicted | superseded
    _text("from_class"),
    _text("to_class"),
    _text("geometry"),
    _real("area_m2"),
    _real("probability"),
    _time("first_seen"),  # acquisition of the first scene that shows it, and of the last
    _time("last_seen"),
    _text("first_scene"),
    _whole("supports"),
    _json("evidence"),
    _whole("version"),
    _time("created"),
    _time("updated"),
    _text("actor"),
    Column("west", Float),  # bounds of the geometry, degrees
    Column("south", Float),
    Column("east", Float),
    Column("north", Float),
    Index(None, "tenant", "last_seen", "id"),
)

observations: Final = Table(  # what a run says of an alert's polygon, kept since rasters are slow
    "observations",
    metadata,
    Column("geometry_digest", Text, primary_key=True),
    _ref("run_id", "runs.id", primary_key=True),
    _json("value"),
)

feed: Final = Table(
    "feed",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),  # Tx.append_feed, without gaps
    _text("alert_id", index=True),
    _text("tenant"),
    _text("type"),
    _whole("version"),
    _json("payload"),
    _time("created"),
    UniqueConstraint("alert_id", "type", "version"),
)

outbox: Final = Table(
    "outbox",
    metadata,
    _seq(),
    _text("id"),
    _text("source"),
    _text("type"),
    _text("subject"),
    _time("time"),
    _json("data"),
    _json("extensions"),
    Column("tenant", Text),
    _time("created"),
    Column("published", UtcTime),  # handed to the Triggers or to the Broker
    UniqueConstraint("source", "id"),
    Index(
        "ix_outbox_unpublished",
        "seq",
        sqlite_where=text("published IS NULL"),
        postgresql_where=text("published IS NULL"),
    ),
)

deliveries: Final = Table(
    "deliveries",
    metadata,
    _ref("seq", "outbox.seq", primary_key=True),
    Column("trigger", Text, primary_key=True),
    _text("state"),  # pending | claimed | done | dead
    _whole("attempts"),  # that ended with an answer or a time-out
    _whole("losses"),  # cut off by the death of the process
    _time("next_at"),
    Column("lease_until", UtcTime),
    _maybe("owner"),
    Column("status", Integer),  # of the last answer; null where there was none
    _maybe("reason"),  # why the last attempt failed
    _time("updated"),
    Index(None, "state", "next_at", "seq"),
)

handled: Final = Table(
    "handled",
    metadata,
    Column("consumer", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    _time("at"),
)

leases: Final = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    _text("owner"),
    _time("until"),
)

reviews: Final = Table(  # verdicts of analysts; none is ever changed or removed
    "reviews",
    metadata,
    _id(),
    _text("tenant"),
    _ref("alert_id", "alerts.id"),
    _whole("number"),  # counts the reviews of the alert
    _whole("alert_version"),  # what the reviewer looked at
    _ref("site_id", "sites.id"),
    _text("verdict"),  # accept | reject | redraw | unsure
    _maybe("geometry"),  # of a redraw
    _maybe("ignored"),  # ground that the reviewer does not vouch for
    _text("from_class"),
    _text("to_class"),
    _maybe("comment"),
    _maybe("run_id"),  # the run that the reviewer saw, and the models that made it
    _json("model_set"),  # [{name, digest}]
    _time("created"),
    _text("actor"),  # who reviewed
    UniqueConstraint("alert_id", "number"),
    Index(None, "tenant", "created"),
    Index(None, "run_id"),
)

locks: Final = Table(  # who has an alert of the review queue in hand
    "locks",
    metadata,
    _ref("alert_id", "alerts.id", primary_key=True),
    _text("tenant", index=True),
    _text("owner"),
    _time("until"),
    Column("tiles", JSON),  # EPSG/row_col of each tile that the alert touches
    Column("labelling", Boolean),  # whether its owner has those tiles to themselves
)

areas: Final = Table(  # polygons that people drew on the map, to look at what lies inside
    "areas",
    metadata,
    _id(),
    _text("tenant"),
    _text("name"),
    _text("geometry"),
    _time("created"),
    _time("updated"),
    _text("actor"),
    UniqueConstraint("tenant", "name"),
)

labels: Final = Table(  # verified tiles; the pixels lie in the object store under `version`
    "labels",
    metadata,
    Column("version", Text, primary_key=True),  # sha256 over pixels, masks and lineage
    _text("tenant"),
    _ref("site_id", "sites.id"),
    _ref("run_id", "runs.id"),  # the pair: what was compared with what
    _text("tile"),  # row_col of the lattice
    Column("current", Boolean, nullable=False),  # the newest of its run and tile
    _json("reviews"),  # review ids it follows from
    _json("counts"),  # pixels changed, unchanged and ignored; changed ones by class pair
    _text("licence"),
    _time("created"),
    _text("actor"),
    Index(None, "run_id", "tile"),
    Index(None, "tenant", "current"),
)

trainings: Final = Table(  # each was asked for once, and ends with a reason
    "trainings",
    metadata,
    _id(),  # digest of the labels that it was asked for with
    _text("tenant"),
    _text("cause"),  # labels | drift
    _whole("labels"),  # verified tiles that stood then
    _whole("new"),  # of those, since the training before
    _text("state", index=True),  # due | accepted | running | parked | registered | refused | failed
    _maybe("reason"),
    _maybe("message"),
    _whole("attempt"),  # how often it was asked for
    _maybe("set_digest"),  # the model set that was made, and what the gate said of it
    _maybe("version"),
    _maybe("report"),
    _time("created"),
    _time("updated"),
    _text("actor"),
)

webhooks: Final = Table(
    "webhooks",
    metadata,
    _id(),
    _text("tenant", index=True),
    _text("url"),
    _text("secret"),
    _json("types"),  # words of the feed that it wants; empty: all
    _text("state"),  # active | paused
    _whole("seq"),  # number of the feed up to which everything was delivered
    _whole("failures"),  # in a row
    _time("next_at"),
    Column("status", Integer),  # of the last answer
    _maybe("reason"),  # why the last delivery failed
    _time("created"),
    _text("actor"),
)
