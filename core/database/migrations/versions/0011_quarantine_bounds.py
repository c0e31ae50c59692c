"""how much of a device's refused messages is kept per hour, and the length and digest of cut ones

The columns stay empty in old rows, and in those that the version before writes: what it keeps is whole.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("quarantine", sa.Column("raw_bytes", sa.Integer()))
    op.add_column("quarantine", sa.Column("raw_sha256", sa.LargeBinary()))
    op.create_table(
        "quarantine_count",
        sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True),
        sa.Column("company_id", sa.Integer(), sa.ForeignKey("company.id")),
        sa.Column("device_id", sa.Text()),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kept_rows", sa.Integer(), nullable=False),
        sa.Column("kept_bytes", sa.BigInteger(), nullable=False),
        sa.Column("not_kept_rows", sa.BigInteger(), nullable=False),
        sa.Column("not_kept_bytes", sa.BigInteger(), nullable=False),
        sa.Column("last_id", sa.BigInteger()),
        sa.UniqueConstraint(
            "company_id",
            "hour",
            "device_id",
            name="uq_quarantine_count_company_id_hour_device_id",
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index(
        "ix_quarantine_count_not_kept",
        "quarantine_count",
        ["company_id", "id"],
        postgresql_where=sa.text("not_kept_rows > 0 AND device_id IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_table("quarantine_count")
    op.drop_column("quarantine", "raw_sha256")
    op.drop_column("quarantine", "raw_bytes")
