"""Tables of proofs of delivery (POD). They are append-only, apart from the erasure of personal data.

`DeliveryProof.recipient_name`, `.note`, `.fingerprint` (a hash of them), `.latitude`, `.longitude` and
`ProofImage.content` are personal data: each may be set to null, while the row with its hashes stays.
"""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base, one_of
from core.rules.enums import ImageKind


class DeliveryProof(Base):
    __tablename__ = "delivery_proof"
    # A phone that lost the response sends its proof again, which must not be stored twice.
    __table_args__ = (UniqueConstraint("delivery_id", "fingerprint"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"), index=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id"))
    recipient_name: Mapped[str | None]
    note: Mapped[str | None]
    latitude: Mapped[float | None]
    longitude: Mapped[float | None]
    fingerprint: Mapped[bytes | None] = mapped_column(doc="SHA-256 of the request; None: erased")
    occurred_at: Mapped[datetime] = mapped_column(doc="when it happened, by the reporter's clock")
    recorded_at: Mapped[datetime] = mapped_column(doc="by the server's clock")
    actor_user_id: Mapped[int | None]
    actor_driver_id: Mapped[int | None]


class ProofImage(Base):
    """An image of a proof, re-encoded by us. ``number`` counts from 1 within its proof."""

    __tablename__ = "proof_image"
    __table_args__ = (
        UniqueConstraint("proof_id", "number"),
        CheckConstraint(one_of("kind", ImageKind), name="kind"),
        CheckConstraint("media_type IN ('image/jpeg', 'image/png')", name="media_type"),
        CheckConstraint("octet_length(content) <= 2097152", name="content"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"), index=True)
    proof_id: Mapped[int] = mapped_column(ForeignKey("delivery_proof.id", ondelete="CASCADE"))
    number: Mapped[int]
    kind: Mapped[ImageKind] = mapped_column(String(16))
    media_type: Mapped[str] = mapped_column(String(32))
    width: Mapped[int] = mapped_column(doc="pixels")
    height: Mapped[int] = mapped_column(doc="pixels")
    size_bytes: Mapped[int]
    sha256: Mapped[bytes] = mapped_column(doc="of the content; kept when the content is erased")
    content: Mapped[bytes | None] = mapped_column(deferred=True, doc="None: erased")
