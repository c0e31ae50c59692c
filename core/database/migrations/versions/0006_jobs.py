"""jobs: how each one fares, which nights are done, what the detectors have told"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = sa.DateTime(timezone=True)
TOLD = {
    "delivery": ("late_told_for", "arriving_soon_told_at"),
    "device": ("last_heard_at", "silence_told_at"),
}
LATE_UNTOLD = (
    "status IN ('pending', 'pickup_in_progress', 'in_transit') AND late_told_for IS DISTINCT FROM window_end"
)
ARRIVAL_UNTOLD = (
    "status = 'in_transit' AND (arriving_soon_told_at IS NULL OR arriving_soon_told_at < vehicle_since)"
)


def upgrade() -> None:
    op.create_table(
        "job",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("last_started_at", INSTANT, nullable=False),
        sa.Column("last_ended_at", INSTANT, nullable=True),
        sa.Column("last_succeeded_at", INSTANT, nullable=True),
        sa.Column("next_run_at", INSTANT, nullable=True),
        sa.Column("last_duration_s", sa.Float(), nullable=True),
        sa.Column("last_result", sa.Text(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("consecutive_failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("ran_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_job")),
    )
    op.create_table(
        "nightly_run",
        sa.Column("company_id", sa.Integer(), nullable=False),
        sa.Column("work", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("done_at", INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f("fk_nightly_run_company_id")),
        sa.PrimaryKeyConstraint("company_id", "work", "day", name=op.f("pk_nightly_run")),
    )
    op.create_index("ix_nightly_run_day", "nightly_run", ["day"])
    for table, columns in TOLD.items():
        for column in columns:
            op.add_column(table, sa.Column(column, INSTANT, nullable=True))
    op.create_index(
        "ix_delivery_late_untold", "delivery", ["window_end"], postgresql_where=sa.text(LATE_UNTOLD)
    )
    op.create_index(
        "ix_delivery_arrival_untold", "delivery", ["vehicle_id"], postgresql_where=sa.text(ARRIVAL_UNTOLD)
    )


def downgrade() -> None:
    op.drop_index("ix_delivery_late_untold", table_name="delivery")
    op.drop_index("ix_delivery_arrival_untold", table_name="delivery")
    for table, columns in TOLD.items():
        for column in columns:
            op.drop_column(table, column)
    op.drop_table("nightly_run")
    op.drop_table("job")
