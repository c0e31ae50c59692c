"""row-level security between companies

Every `core.database.schema.migrate` applies the policies again, also to tables of later revisions.
"""

from collections.abc import Sequence

from alembic import op

from core.database.row_security_policies import apply_policies, remove_policies

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    apply_policies(op.get_bind())


def downgrade() -> None:
    remove_policies(op.get_bind())
