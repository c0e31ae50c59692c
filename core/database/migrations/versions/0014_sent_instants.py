"""when something happened as the reporter sent it, by which a repeated request is known"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("delivery_checkpoint", sa.Column("occurred_at_sent", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("delivery_checkpoint", "occurred_at_sent")
