"""first tables"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


# One table for every fix of every vehicle, by month of `fix_time`. No foreign key, no trigger, no surrogate
# id, no default partition: it must move to Citus or a hypertable unchanged.
POSITION = """
CREATE TABLE position (
    vehicle_id integer NOT NULL,
    fix_time timestamptz NOT NULL,
    latitude double precision NOT NULL,
    longitude double precision NOT NULL,
    received_at timestamptz NOT NULL,
    altitude_m real,
    speed_kmh real,
    course_deg real,
    accuracy_m real,
    battery_percent real,
    ignition boolean,
    odometer_m double precision,
    suspect boolean NOT NULL,
    device_id text,
    attributes jsonb,
    PRIMARY KEY (vehicle_id, fix_time, latitude, longitude)
) PARTITION BY RANGE (fix_time)
"""


def upgrade() -> None:
    op.create_table(
        "company",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), server_default="UTC", nullable=False),
        sa.Column("checkpoint_distance_m", sa.Double(), server_default="250", nullable=False),
        sa.Column("checkpoint_interval_s", sa.Double(), server_default="60", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name=op.f("ck_company_slug")),
        sa.CheckConstraint(
            "checkpoint_distance_m >= 0 AND checkpoint_interval_s >= 0",
            name=op.f("ck_company_checkpoint_policy"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_company")),
        sa.UniqueConstraint("slug", name=op.f("uq_company_slug")),
    )
    op.create_table(
        "customer",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("company_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f("fk_customer_company_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customer")),
        sa.UniqueConstraint("company_id", "id", name=op.f("uq_customer_company_id_id")),
    )
    op.create_index(op.f("ix_customer_company_id"), "customer", ["company_id"], unique=False)
    op.create_table(
        "driver",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("company_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.Column("licence_number", sa.Text(), nullable=True),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f("fk_driver_company_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_driver")),
        sa.UniqueConstraint("company_id", "id", name=op.f("uq_driver_company_id_id")),
    )
    op.create_index(op.f("ix_driver_company_id"), "driver", ["company_id"], unique=False)
    op.create_table(
        "load_order",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("company_id", sa.Integer(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f("fk_load_order_company_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_load_order")),
    )
    op.create_index(op.f("ix_load_order_company_id"), "load_order", ["company_id"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("company_id", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("parked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f("fk_outbox_company_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_table(
        "quarantine",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("company_id", sa.Integer(), nullable=True),
        sa.Column("device_id", sa.Text(), nullable=True),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f("fk_quarantine_company_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
    )
    op.create_index("ix_quarantine_company_id_id", "quarantine", ["company_id", "id"], unique=False)
    op.create_table(
        "vehicle",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("company_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("plate", sa.Text(), nullable=True),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("position_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("position_latitude", sa.Double(), nullable=True),
        sa.Column("position_longitude", sa.Double(), nullable=True),
        sa.Column("position_speed_kmh", sa.Double(), nullable=True),
        sa.Column("position_course_deg", sa.Double(), nullable=True),
        sa.Column("position_accuracy_m", sa.Double(), nullable=True),
        sa.Column("smoothed_speed_kmh", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f("fk_vehicle_company_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vehicle")),
        sa.UniqueConstraint("company_id", "id", name=op.f("uq_vehicle_company_id_id")),
    )
    op.create_index(op.f("ix_vehicle_company_id"), "vehicle", ["company_id"], unique=False)
    op.create_table(
        "app_user",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("company_id", sa.Integer(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("driver_id", sa.Integer(), nullable=True),
        sa.Column("customer_id", sa.Integer(), nullable=True),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("token_epoch", sa.Integer(), server_default="1", nullable=False),
        sa.Column("mqtt_secret_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(role = 'customer') = (customer_id IS NOT NULL)", name=op.f("ck_app_user_customer")
        ),
        sa.CheckConstraint("(role = 'driver') = (driver_id IS NOT NULL)", name=op.f("ck_app_user_driver")),
        sa.CheckConstraint(
            "role IN ('driver', 'customer', 'manager', 'operator')", name=op.f("ck_app_user_role")
        ),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f("fk_app_user_company_id")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("fk_app_user_customer_id")),
        sa.ForeignKeyConstraint(["driver_id"], ["driver.id"], name=op.f("fk_app_user_driver_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_app_user")),
        sa.UniqueConstraint("driver_id", name=op.f("uq_app_user_driver_id")),
        sa.UniqueConstraint("email", name=op.f("uq_app_user_email")),
    )
    op.create_index(op.f("ix_app_user_company_id"), "app_user", ["company_id"], unique=False)
    op.create_index(op.f("ix_app_user_customer_id"), "app_user", ["customer_id"], unique=False)
    op.create_table(
        "delivery",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("company_id", sa.Integer(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=32), server_default="pending", nullable=False),
        sa.Column("customer_id", sa.Integer(), nullable=False),
        sa.Column("driver_id", sa.Integer(), nullable=True),
        sa.Column("vehicle_id", sa.Integer(), nullable=True),
        sa.Column("load_order_id", sa.Integer(), nullable=True),
        sa.Column("pickup_address", sa.Text(), nullable=False),
        sa.Column("pickup_latitude", sa.Double(), nullable=True),
        sa.Column("pickup_longitude", sa.Double(), nullable=True),
        sa.Column("dropoff_address", sa.Text(), nullable=False),
        sa.Column("dropoff_latitude", sa.Double(), nullable=True),
        sa.Column("dropoff_longitude", sa.Double(), nullable=True),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=True),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("vehicle_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("checkpoint_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("checkpoint_latitude", sa.Double(), nullable=True),
        sa.Column("checkpoint_longitude", sa.Double(), nullable=True),
        sa.Column("fact_retained", sa.Boolean(), server_default="false", nullable=False),
        sa.CheckConstraint(
            "status IN ('pending', 'pickup_in_progress', 'in_transit', 'delivered', 'returned', 'failed')",
            name=op.f("ck_delivery_status"),
        ),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f("fk_delivery_company_id")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("fk_delivery_customer_id")),
        sa.ForeignKeyConstraint(["driver_id"], ["driver.id"], name=op.f("fk_delivery_driver_id")),
        sa.ForeignKeyConstraint(["load_order_id"], ["load_order.id"], name=op.f("fk_delivery_load_order_id")),
        sa.ForeignKeyConstraint(["vehicle_id"], ["vehicle.id"], name=op.f("fk_delivery_vehicle_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
    )
    op.create_index("ix_delivery_company_id_id", "delivery", ["company_id", "id"], unique=False)
    op.create_index(op.f("ix_delivery_customer_id"), "delivery", ["customer_id"], unique=False)
    op.create_index(op.f("ix_delivery_driver_id"), "delivery", ["driver_id"], unique=False)
    op.create_index(
        "ix_delivery_fact_retained",
        "delivery",
        ["ended_at"],
        unique=False,
        postgresql_where=sa.text("fact_retained"),
    )
    op.create_index(op.f("ix_delivery_load_order_id"), "delivery", ["load_order_id"], unique=False)
    op.create_index(
        "ix_delivery_under_way_driver",
        "delivery",
        ["driver_id"],
        unique=False,
        postgresql_where=sa.text("status IN ('pickup_in_progress', 'in_transit')"),
    )
    op.create_index(
        "ix_delivery_under_way_vehicle",
        "delivery",
        ["vehicle_id"],
        unique=False,
        postgresql_where=sa.text("status IN ('pickup_in_progress', 'in_transit')"),
    )
    op.create_index(op.f("ix_delivery_vehicle_id"), "delivery", ["vehicle_id"], unique=False)
    op.create_table(
        "device",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("company_id", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("vehicle_id", sa.Integer(), nullable=True),
        sa.Column("driver_id", sa.Integer(), nullable=True),
        sa.Column("secret_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("id ~ '^[a-z0-9]{10}$'", name=op.f("ck_device_id")),
        sa.CheckConstraint("vehicle_id IS NULL OR driver_id IS NULL", name=op.f("ck_device_one_binding")),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f("fk_device_company_id")),
        sa.ForeignKeyConstraint(["driver_id"], ["driver.id"], name=op.f("fk_device_driver_id")),
        sa.ForeignKeyConstraint(["vehicle_id"], ["vehicle.id"], name=op.f("fk_device_vehicle_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device")),
    )
    op.create_index(op.f("ix_device_company_id"), "device", ["company_id"], unique=False)
    op.create_index(op.f("ix_device_driver_id"), "device", ["driver_id"], unique=False)
    op.create_index(op.f("ix_device_vehicle_id"), "device", ["vehicle_id"], unique=False)
    op.create_table(
        "load_item",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("company_id", sa.Integer(), nullable=False),
        sa.Column("load_order_id", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("weight_kg", sa.Double(), nullable=True),
        sa.Column("volume_m3", sa.Double(), nullable=True),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_load_item_quantity")),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f("fk_load_item_company_id")),
        sa.ForeignKeyConstraint(
            ["load_order_id"], ["load_order.id"], name=op.f("fk_load_item_load_order_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_load_item")),
    )
    op.create_index(op.f("ix_load_item_load_order_id"), "load_item", ["load_order_id"], unique=False)
    op.create_table(
        "delivery_checkpoint",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("company_id", sa.Integer(), nullable=False),
        sa.Column("delivery_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("vehicle_id", sa.Integer(), nullable=True),
        sa.Column("driver_id", sa.Integer(), nullable=True),
        sa.Column("latitude", sa.Double(), nullable=True),
        sa.Column("longitude", sa.Double(), nullable=True),
        sa.Column("speed_kmh", sa.Double(), nullable=True),
        sa.Column("course_deg", sa.Double(), nullable=True),
        sa.Column("accuracy_m", sa.Double(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor_user_id", sa.Integer(), nullable=True),
        sa.Column("actor_driver_id", sa.Integer(), nullable=True),
        sa.Column("actor_device_id", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('status', 'assignment', 'location')", name=op.f("ck_delivery_checkpoint_kind")
        ),
        sa.ForeignKeyConstraint(
            ["company_id"], ["company.id"], name=op.f("fk_delivery_checkpoint_company_id")
        ),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["delivery.id"], name=op.f("fk_delivery_checkpoint_delivery_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery_checkpoint")),
    )
    op.create_index(
        "ix_delivery_checkpoint_delivery_id_id", "delivery_checkpoint", ["delivery_id", "id"], unique=False
    )
    op.create_table(
        "notification",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("company_id", sa.Integer(), nullable=False),
        sa.Column("delivery_id", sa.Integer(), nullable=False),
        sa.Column("checkpoint_id", sa.BigInteger(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="queued", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"], ["delivery_checkpoint.id"], name=op.f("fk_notification_checkpoint_id")
        ),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f("fk_notification_company_id")),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_notification_delivery_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notification")),
    )
    op.create_index(op.f("ix_notification_delivery_id"), "notification", ["delivery_id"], unique=False)
    op.create_index(
        "ix_notification_queued",
        "notification",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.execute(POSITION)


def downgrade() -> None:
    op.execute("DROP TABLE position")
    op.drop_index(
        "ix_notification_queued", table_name="notification", postgresql_where=sa.text("state = 'queued'")
    )
    op.drop_index(op.f("ix_notification_delivery_id"), table_name="notification")
    op.drop_table("notification")
    op.drop_index("ix_delivery_checkpoint_delivery_id_id", table_name="delivery_checkpoint")
    op.drop_table("delivery_checkpoint")
    op.drop_index(op.f("ix_load_item_load_order_id"), table_name="load_item")
    op.drop_table("load_item")
    op.drop_index(op.f("ix_device_vehicle_id"), table_name="device")
    op.drop_index(op.f("ix_device_driver_id"), table_name="device")
    op.drop_index(op.f("ix_device_company_id"), table_name="device")
    op.drop_table("device")
    op.drop_index(op.f("ix_delivery_vehicle_id"), table_name="delivery")
    op.drop_index(
        "ix_delivery_under_way_vehicle",
        table_name="delivery",
        postgresql_where=sa.text("status IN ('pickup_in_progress', 'in_transit')"),
    )
    op.drop_index(
        "ix_delivery_under_way_driver",
        table_name="delivery",
        postgresql_where=sa.text("status IN ('pickup_in_progress', 'in_transit')"),
    )
    op.drop_index(op.f("ix_delivery_load_order_id"), table_name="delivery")
    op.drop_index(
        "ix_delivery_fact_retained", table_name="delivery", postgresql_where=sa.text("fact_retained")
    )
    op.drop_index(op.f("ix_delivery_driver_id"), table_name="delivery")
    op.drop_index(op.f("ix_delivery_customer_id"), table_name="delivery")
    op.drop_index("ix_delivery_company_id_id", table_name="delivery")
    op.drop_table("delivery")
    op.drop_index(op.f("ix_app_user_customer_id"), table_name="app_user")
    op.drop_index(op.f("ix_app_user_company_id"), table_name="app_user")
    op.drop_table("app_user")
    op.drop_index(op.f("ix_vehicle_company_id"), table_name="vehicle")
    op.drop_table("vehicle")
    op.drop_index("ix_quarantine_company_id_id", table_name="quarantine")
    op.drop_table("quarantine")
    op.drop_table("outbox")
    op.drop_index(op.f("ix_load_order_company_id"), table_name="load_order")
    op.drop_table("load_order")
    op.drop_index(op.f("ix_driver_company_id"), table_name="driver")
    op.drop_table("driver")
    op.drop_index(op.f("ix_customer_company_id"), table_name="customer")
    op.drop_table("customer")
    op.drop_table("company")
