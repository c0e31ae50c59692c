"""retention: how long fixes and deliveries are kept, and customers who were erased"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = sa.DateTime(timezone=True)
UNMEASURED = "driven_m IS NULL AND ended_at IS NOT NULL"


def upgrade() -> None:
    op.add_column("company", sa.Column("fixes_kept_days", sa.Integer(), nullable=True))
    op.add_column("company", sa.Column("deliveries_kept_days", sa.Integer(), nullable=True))
    op.add_column("company", sa.Column("fixes_removed_before", INSTANT, nullable=True))
    # For companies that are made from now on: an upgrade takes nobody's data away.
    op.alter_column("company", "fixes_kept_days", server_default="365")
    op.create_check_constraint(
        op.f("ck_company_retention"), "company", "fixes_kept_days >= 1 AND deliveries_kept_days >= 1"
    )
    op.add_column("customer", sa.Column("erased_at", INSTANT, nullable=True))
    op.add_column("delivery", sa.Column("driven_m", sa.Double(), nullable=True))
    op.add_column("delivery", sa.Column("driven_fixes", sa.Integer(), nullable=True))
    op.add_column("delivery", sa.Column("erased_at", INSTANT, nullable=True))
    op.create_index(
        "ix_delivery_unmeasured",
        "delivery",
        ["company_id", "started_at"],
        postgresql_where=sa.text(UNMEASURED),
    )
    # A checkpoint that is deleted must not scan what refers to checkpoints.
    op.create_index("ix_notification_checkpoint_id", "notification", ["checkpoint_id"])


def downgrade() -> None:
    op.drop_index("ix_notification_checkpoint_id", table_name="notification")
    op.drop_index("ix_delivery_unmeasured", table_name="delivery")
    for column in ("erased_at", "driven_fixes", "driven_m"):
        op.drop_column("delivery", column)
    op.drop_column("customer", "erased_at")
    op.drop_constraint(op.f("ck_company_retention"), "company", type_="check")
    for column in ("fixes_removed_before", "deliveries_kept_days", "fixes_kept_days"):
        op.drop_column("company", column)
