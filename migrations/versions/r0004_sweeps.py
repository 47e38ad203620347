"""Sweeps"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sweeps",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("base", sa.JSON(), nullable=False),
        sa.Column("grid", sa.JSON(), nullable=False),
        sa.Column("notes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sweeps")),
    )
    with op.batch_alter_table("sweeps", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sweeps_owner_id"), ["owner", "id"], unique=False)
    op.create_table(
        "sweep_points",
        sa.Column("sweep_id", sa.String(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("values", sa.JSON(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=True),
        sa.Column("baseline_job_id", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name=op.f("fk_sweep_points_sweep_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_sweep_points_job_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("sweep_id", "place", name=op.f("pk_sweep_points")),
    )
    with op.batch_alter_table("sweep_points", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sweep_points_job_id"), ["job_id"], unique=False)


def downgrade() -> None:
    raise RuntimeError("there is no way back from a revision: restore the backup that was made before it")
