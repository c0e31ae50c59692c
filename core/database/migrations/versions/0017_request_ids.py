"""rows that cause work in the jobs process name the request that caused them"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLES = ("outbox", "notification", "user_link")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("request_id", sa.String(64)))


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "request_id")
