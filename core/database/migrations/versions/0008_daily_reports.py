"""daily reports: a day's figures as they were, and the index that finds what ended on a day"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "daily_report",
        sa.Column("company_id", sa.Integer(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("starts_at", INSTANT, nullable=False),
        sa.Column("ends_at", INSTANT, nullable=False),
        sa.Column("made_at", INSTANT, nullable=False),
        sa.Column("figures", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f("fk_daily_report_company_id")),
        sa.PrimaryKeyConstraint("company_id", "day", name=op.f("pk_daily_report")),
    )
    op.create_index("ix_delivery_company_id_ended_at", "delivery", ["company_id", "ended_at"])


def downgrade() -> None:
    op.drop_index("ix_delivery_company_id_ended_at", table_name="delivery")
    op.drop_table("daily_report")
