"""Reviews, locks, labels and webhooks; bounds of alerts."""

from typing import Any

import shapely
import sqlalchemy as sa
from alembic import context, op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_BOUNDS = ("west", "south", "east", "north")


def upgrade() -> None:
    """Make the tables, then place the alerts that stand."""
    _reviews()
    _locks()
    _labels()
    _webhooks()
    for name in _BOUNDS:
        op.add_column("alerts", sa.Column(name, sa.Float(), nullable=True))
    op.create_index(op.f("ix_alerts_tenant_last_seen_id"), "alerts", ["tenant", "last_seen", "id"])
    if not context.is_offline_mode():
        _place_alerts()


def _place_alerts() -> None:
    columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in ("id", "geometry", *_BOUNDS)]
    alerts = sa.table("alerts", *columns)
    connection = op.get_bind()
    for row in connection.execute(sa.select(alerts.c.id, alerts.c.geometry)).all():
        bounds = dict(zip(_BOUNDS, shapely.from_geojson(row.geometry).bounds, strict=True))
        connection.execute(alerts.update().where(alerts.c.id == row.id).values(**bounds))


def _reviews() -> None:
    op.create_table(
        "reviews",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("alert_version", sa.Integer(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("geometry", sa.Text(), nullable=True),
        sa.Column("from_class", sa.Text(), nullable=False),
        sa.Column("to_class", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("model_set", sa.JSON(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.id"], name=op.f("fk_reviews_alert_id_alerts")
        ),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_reviews_site_id_sites")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
        sa.UniqueConstraint("alert_id", "number", name=op.f("uq_reviews_alert_id_number")),
    )
    op.create_index(op.f("ix_reviews_tenant_created"), "reviews", ["tenant", "created"])
    op.create_index(op.f("ix_reviews_run_id"), "reviews", ["run_id"])


def _locks() -> None:
    op.create_table(
        "locks",
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.id"], name=op.f("fk_locks_alert_id_alerts")),
        sa.PrimaryKeyConstraint("alert_id", name=op.f("pk_locks")),
    )
    op.create_index(op.f("ix_locks_tenant"), "locks", ["tenant"])


def _labels() -> None:
    op.create_table(
        "labels",
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("tile", sa.Text(), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("reviews", sa.JSON(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("licence", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_labels_site_id_sites")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_labels_run_id_runs")),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_labels")),
    )
    op.create_index(op.f("ix_labels_run_id_tile"), "labels", ["run_id", "tile"])
    op.create_index(op.f("ix_labels_tenant_current"), "labels", ["tenant", "current"])


def _webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("types", sa.JSON(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index(op.f("ix_webhooks_tenant"), "webhooks", ["tenant"])


def downgrade() -> None:
    """Drop what this revision made."""
    for table in ("webhooks", "labels", "locks", "reviews"):
        op.drop_table(table)
    op.drop_index(op.f("ix_alerts_tenant_last_seen_id"), table_name="alerts")
    with op.batch_alter_table("alerts") as alerts:
        for name in reversed(_BOUNDS):
            alerts.drop_column(name)
