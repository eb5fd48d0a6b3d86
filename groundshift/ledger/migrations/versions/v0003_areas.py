"""Areas that people draw, ignored ground of reviews, tiles of locks."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and the columns; what stands ignores nothing and locks no tile."""
    op.create_table(
        "areas",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("geometry", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_areas")),
        sa.UniqueConstraint("tenant", "name", name=op.f("uq_areas_tenant_name")),
    )
    op.add_column("reviews", sa.Column("ignored", sa.Text(), nullable=True))
    op.add_column("locks", sa.Column("tiles", sa.JSON(), nullable=True))
    op.add_column("locks", sa.Column("labelling", sa.Boolean(), nullable=True))


def downgrade() -> None:
    """Drop what this revision made."""
    with op.batch_alter_table("locks") as locks:
        locks.drop_column("labelling")
        locks.drop_column("tiles")
    with op.batch_alter_table("reviews") as reviews:
        reviews.drop_column("ignored")
    op.drop_table("areas")
