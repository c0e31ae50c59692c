"""which integration wrote a checkpoint, so that the same again by it is no conflict"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("delivery_checkpoint", sa.Column("actor_api_token_id", sa.Integer()))


def downgrade() -> None:
    op.drop_column("delivery_checkpoint", "actor_api_token_id")
