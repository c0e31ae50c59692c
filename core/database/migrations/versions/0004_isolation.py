"""row-level security: the second fence between companies

Every `core.database.schema.migrate` raises the fences again, so that tables of later revisions are inside.
"""

from collections.abc import Sequence

from alembic import op

from core.database.row_security_policies import raise_fences, take_down_fences

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    raise_fences(op.get_bind())


def downgrade() -> None:
    take_down_fences(op.get_bind())
