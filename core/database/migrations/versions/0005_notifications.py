"""notifications: who is told of what, webhooks, templates, attempts"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = sa.DateTime(timezone=True)
THRESHOLDS = {"arriving_soon_min": "15", "late_after_min": "0", "device_silent_after_min": "30"}


def upgrade() -> None:
    for column, default in THRESHOLDS.items():
        op.add_column("company", sa.Column(column, sa.Integer(), server_default=default, nullable=False))
    op.create_check_constraint(
        op.f("ck_company_notification_thresholds"),
        "company",
        "arriving_soon_min >= 0 AND late_after_min >= 0 AND device_silent_after_min >= 1",
    )
    _choices()
    _webhooks()
    _queue()
    _attempts()
    _owed_links()


def downgrade() -> None:
    op.drop_index("ix_user_link_owed", table_name="user_link")
    # As it was: what has no token is owed.
    op.execute("UPDATE user_link SET token_hash = NULL WHERE send_at IS NOT NULL AND used_at IS NULL")
    for column in ("send_at", "send_attempts", "send_error"):
        op.drop_column("user_link", column)
    op.create_index("ix_user_link_owed", "user_link", ["id"], postgresql_where=sa.text("token_hash IS NULL"))
    op.drop_table("notification_attempt")
    # What the table of before cannot hold.
    op.execute("DELETE FROM notification WHERE checkpoint_id IS NULL OR recipient IS NULL")
    for index in ("company_id_id", "created_at", "due_emails", "due_webhooks", "expiring"):
        op.drop_index(f"ix_notification_{index}", table_name="notification")
    op.drop_constraint(op.f("uq_notification_company_id_event_once_addressee"), "notification")
    op.drop_constraint(op.f("ck_notification_state"), "notification")
    for column in ADDED:
        op.drop_column("notification", column)
    for column in ("delivery_id", "checkpoint_id", "recipient"):
        op.alter_column("notification", column, nullable=False)
    op.create_index(
        "ix_notification_queued", "notification", ["id"], postgresql_where=sa.text("state = 'queued'")
    )
    for table in ("webhook", "notification_template", "notification_setting"):
        op.drop_table(table)
    op.drop_constraint(op.f("ck_company_notification_thresholds"), "company")
    for column in THRESHOLDS:
        op.drop_column("company", column)


def _company(table: str) -> tuple[sa.Column[int], sa.ForeignKeyConstraint]:
    return (
        sa.Column("company_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f(f"fk_{table}_company_id")),
    )


def _choices() -> None:
    op.create_table(
        "notification_setting",
        *_company("notification_setting"),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("customer", sa.Boolean(), nullable=False),
        sa.Column("managers", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("company_id", "event", name=op.f("pk_notification_setting")),
    )
    op.create_table(
        "notification_template",
        *_company("notification_template"),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("audience", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("html", sa.Text(), nullable=True),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("company_id", "event", "audience", name=op.f("pk_notification_template")),
    )


def _webhooks() -> None:
    op.create_table(
        "webhook",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        *_company("webhook"),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("events", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("secret_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("previous_secret_until", INSTANT, nullable=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("retry_at", INSTANT, nullable=True),
        sa.Column("last_success_at", INSTANT, nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("disabled_at", INSTANT, nullable=True),
        sa.Column("disabled_because", sa.String(length=16), nullable=True),
        sa.Column("deleted_at", INSTANT, nullable=True),
        sa.Column("created_at", INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook")),
    )
    op.create_index(
        op.f("ix_webhook_company_id"),
        "webhook",
        ["company_id"],
        postgresql_where=sa.text("deleted_at IS NULL"),
    )


ADDED = (
    "event",
    "event_id",
    "once",
    "audience",
    "addressee",
    "webhook_id",
    "attempts",
    "next_attempt_at",
    "finished_at",
    "error",
)


def _queue() -> None:
    # What was queued before there was a sender is a day old or will be: it is not sent as news.
    op.execute(
        "ALTER TABLE notification"
        " ALTER COLUMN delivery_id DROP NOT NULL,"
        " ALTER COLUMN checkpoint_id DROP NOT NULL,"
        " ALTER COLUMN recipient DROP NOT NULL,"
        " ADD COLUMN event varchar(32) NOT NULL DEFAULT 'status_changed',"
        " ADD COLUMN event_id uuid NOT NULL DEFAULT gen_random_uuid(),"
        " ADD COLUMN once text,"
        " ADD COLUMN audience varchar(16) NOT NULL DEFAULT 'customer',"
        " ADD COLUMN addressee text NOT NULL DEFAULT '',"
        " ADD COLUMN webhook_id int CONSTRAINT fk_notification_webhook_id REFERENCES webhook (id),"
        " ADD COLUMN attempts int NOT NULL DEFAULT 0,"
        " ADD COLUMN next_attempt_at timestamptz NOT NULL DEFAULT now(),"
        " ADD COLUMN finished_at timestamptz,"
        " ADD COLUMN error text"
    )
    op.execute(
        "UPDATE notification n SET addressee = 'customer:' || d.customer_id, state = 'expired',"
        " finished_at = n.expires_at, error = 'queued before there was a sender'"
        " FROM delivery d WHERE d.id = n.delivery_id"
    )
    for column in ("event", "event_id", "audience", "addressee", "next_attempt_at"):
        op.alter_column("notification", column, server_default=None)
    op.create_check_constraint(
        op.f("ck_notification_state"), "notification", "state IN ('queued', 'sent', 'failed', 'expired')"
    )
    op.create_unique_constraint(
        op.f("uq_notification_company_id_event_once_addressee"),
        "notification",
        ["company_id", "event", "once", "addressee"],
    )
    op.drop_index("ix_notification_queued", table_name="notification")
    op.create_index("ix_notification_company_id_id", "notification", ["company_id", "id"])
    op.create_index("ix_notification_created_at", "notification", ["created_at"], postgresql_using="brin")
    queued = "state = 'queued'"
    for name, columns, condition in (
        ("due_emails", ["company_id", "next_attempt_at"], f"{queued} AND webhook_id IS NULL"),
        ("due_webhooks", ["webhook_id", "next_attempt_at"], f"{queued} AND webhook_id IS NOT NULL"),
        ("expiring", ["expires_at"], queued),
    ):
        op.create_index(
            f"ix_notification_{name}", "notification", columns, postgresql_where=sa.text(condition)
        )


def _attempts() -> None:
    op.create_table(
        "notification_attempt",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        *_company("notification_attempt"),
        sa.Column("notification_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("finished_at", INSTANT, nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.Column("code", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint("number > 0", name=op.f("ck_notification_attempt_number")),
        sa.ForeignKeyConstraint(
            ["notification_id"],
            ["notification.id"],
            name=op.f("fk_notification_attempt_notification_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notification_attempt")),
    )
    op.create_index(
        "ix_notification_attempt_notification_id",
        "notification_attempt",
        ["notification_id", "number"],
        unique=True,
    )


def _owed_links() -> None:
    op.add_column("user_link", sa.Column("send_at", INSTANT, nullable=True))
    op.add_column("user_link", sa.Column("send_attempts", sa.Integer(), server_default="0", nullable=False))
    op.add_column("user_link", sa.Column("send_error", sa.Text(), nullable=True))
    op.execute(
        "UPDATE user_link SET send_at = created_at"
        " WHERE token_hash IS NULL AND revoked_at IS NULL AND expires_at > now()"
    )
    op.drop_index("ix_user_link_owed", table_name="user_link")
    op.create_index(
        "ix_user_link_owed", "user_link", ["send_at"], postgresql_where=sa.text("send_at IS NOT NULL")
    )
