"""Data sets that jobs make"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.add_column(sa.Column("derived_from", sa.String(), nullable=True))


def downgrade() -> None:
    raise RuntimeError("there is no way back from a revision: restore the backup that was made before it")
