"""jobs: how each one fares, which nights are done"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = sa.DateTime(timezone=True)


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


def downgrade() -> None:
    op.drop_table("nightly_run")
    op.drop_table("job")
