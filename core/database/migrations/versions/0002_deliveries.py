"""deliveries: lists by any filter, and requests that are answered once"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# As `core.models.base` had it when this was written.
WORDS = "lower(reference || ' ' || pickup_address || ' ' || dropoff_address)"
BEGINNINGS = " || ".join(
    f"regexp_split_to_array(regexp_replace({WORDS}, '([[:alnum:]]{{{length}}})[[:alnum:]]+', '\\1', 'g'),"
    " '[^[:alnum:]]+')"
    for length in (1, 2, 3, 4, 6, 60)
)
SEARCH = f"array_to_tsvector(array_append(array_remove({BEGINNINGS}, ''), '@' || company_id::text))"
# Each replaces the index on its own column where there was one.
FILTERS = ("status", "customer_id", "driver_id", "vehicle_id", "scheduled_at")
REPLACED = ("customer_id", "driver_id", "vehicle_id")


def upgrade() -> None:
    # One statement, so that the table is rewritten once.
    op.execute(
        "ALTER TABLE delivery"
        " ADD COLUMN scheduled_at timestamptz NOT NULL"
        " GENERATED ALWAYS AS (coalesce(window_start, created_at)) STORED,"
        f" ADD COLUMN search tsvector NOT NULL GENERATED ALWAYS AS ({SEARCH}) STORED"
    )
    for column in FILTERS:
        op.create_index(f"ix_delivery_company_id_{column}_id", "delivery", ["company_id", column, "id"])
    op.create_index("ix_delivery_search", "delivery", ["search"], postgresql_using="gin")
    for column in REPLACED:
        op.drop_index(f"ix_delivery_{column}", table_name="delivery")
    op.create_table(
        "idempotency",
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("company_id", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name="fk_idempotency_company_id"),
        sa.PrimaryKeyConstraint("actor", "route", "key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])


def downgrade() -> None:
    op.drop_table("idempotency")
    for column in REPLACED:
        op.create_index(f"ix_delivery_{column}", "delivery", [column])
    op.drop_index("ix_delivery_search", table_name="delivery")
    for column in FILTERS:
        op.drop_index(f"ix_delivery_company_id_{column}_id", table_name="delivery")
    op.drop_column("delivery", "search")
    op.drop_column("delivery", "scheduled_at")
