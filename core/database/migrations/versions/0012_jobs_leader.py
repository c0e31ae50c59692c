"""the lease of the active jobs process; what is queued of near arrivals is not sent after them"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "jobs_leader",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("since", INSTANT, nullable=False),
        sa.Column("renewed_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs_leader")),
        sa.CheckConstraint("id = 1", name=op.f("ck_jobs_leader_one_row")),
    )
    op.execute(
        "UPDATE notification SET expires_at = least(expires_at, created_at + interval '15 minutes')"
        " WHERE state = 'queued' AND event = 'arriving_soon'"
    )


def downgrade() -> None:
    op.drop_table("jobs_leader")
