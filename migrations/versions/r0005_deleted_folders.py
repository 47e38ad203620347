"""Files of what was deleted"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deleted_folders",
        sa.Column("folder", sa.String(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("folder", name=op.f("pk_deleted_folders")),
    )


def downgrade() -> None:
    raise RuntimeError("there is no way back from a revision: restore the backup that was made before it")
