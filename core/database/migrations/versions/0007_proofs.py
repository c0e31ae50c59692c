"""proofs of delivery: their pictures, their checkpoints, and what a company asks for"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = sa.DateTime(timezone=True)
KINDS = "'status', 'assignment', 'location'"


def upgrade() -> None:
    op.add_column(
        "company",
        sa.Column("proof_required", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
    )
    op.create_check_constraint(
        op.f("ck_company_proof_required"),
        "company",
        "proof_required <@ ARRAY['photo', 'signature', 'recipient_name']",
    )
    op.add_column("delivery_checkpoint", sa.Column("proof_id", sa.Integer(), nullable=True))
    op.add_column(
        "delivery_checkpoint", sa.Column("proof_sha256s", postgresql.ARRAY(sa.Text()), nullable=True)
    )
    _allow_kinds(f"{KINDS}, 'proof'")
    _proofs()
    _images()


def downgrade() -> None:
    op.drop_table("proof_image")
    op.drop_table("delivery_proof")
    op.execute("DELETE FROM delivery_checkpoint WHERE kind = 'proof'")
    _allow_kinds(KINDS)
    op.drop_column("delivery_checkpoint", "proof_sha256s")
    op.drop_column("delivery_checkpoint", "proof_id")
    op.drop_column("company", "proof_required")


def _allow_kinds(kinds: str) -> None:
    op.drop_constraint(op.f("ck_delivery_checkpoint_kind"), "delivery_checkpoint")
    op.create_check_constraint(
        op.f("ck_delivery_checkpoint_kind"), "delivery_checkpoint", f"kind IN ({kinds})"
    )


def _proofs() -> None:
    op.create_table(
        "delivery_proof",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("company_id", sa.Integer(), nullable=False),
        sa.Column("delivery_id", sa.Integer(), nullable=False),
        sa.Column("recipient_name", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("latitude", sa.Float(), nullable=True),
        sa.Column("longitude", sa.Float(), nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        sa.Column("occurred_at", INSTANT, nullable=False),
        sa.Column("recorded_at", INSTANT, nullable=False),
        sa.Column("actor_user_id", sa.Integer(), nullable=True),
        sa.Column("actor_driver_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f("fk_delivery_proof_company_id")),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_delivery_proof_delivery_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery_proof")),
        sa.UniqueConstraint(
            "delivery_id", "fingerprint", name=op.f("uq_delivery_proof_delivery_id_fingerprint")
        ),
    )
    op.create_index(op.f("ix_delivery_proof_company_id"), "delivery_proof", ["company_id"])


def _images() -> None:
    op.create_table(
        "proof_image",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("company_id", sa.Integer(), nullable=False),
        sa.Column("proof_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("media_type", sa.String(length=32), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint("kind IN ('photo', 'signature')", name=op.f("ck_proof_image_kind")),
        sa.CheckConstraint(
            "media_type IN ('image/jpeg', 'image/png')", name=op.f("ck_proof_image_media_type")
        ),
        sa.CheckConstraint("octet_length(content) <= 2097152", name=op.f("ck_proof_image_content")),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f("fk_proof_image_company_id")),
        sa.ForeignKeyConstraint(
            ["proof_id"],
            ["delivery_proof.id"],
            name=op.f("fk_proof_image_proof_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proof_image")),
        sa.UniqueConstraint("proof_id", "number", name=op.f("uq_proof_image_proof_id_number")),
    )
    op.create_index(op.f("ix_proof_image_company_id"), "proof_image", ["company_id"])
    # Pictures are compressed already: PostgreSQL would try in vain.
    op.execute("ALTER TABLE proof_image ALTER COLUMN content SET STORAGE EXTERNAL")
