"""The proof parts that a company requires before a delivery may become delivered."""

from collections.abc import Iterable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.errors import Conflict
from core.models.company import Company
from core.models.delivery import Delivery
from core.models.proof import DeliveryProof, ProofImage
from core.rules.enums import ProofPart


class ProofRequired(Conflict):
    """``missing`` names the parts that no proof of the delivery has yet."""

    title = "Proof of delivery is missing"

    def __init__(self, current: str, missing: list[str]) -> None:
        super().__init__(
            f"The company asks for a proof of delivery first; missing: {', '.join(missing)}."
            " Add it with POST /deliveries/{id}/proofs/, then send the status again.",
            current=current,
            missing=missing,
        )


def in_order(parts: Iterable[str]) -> list[str]:
    """Return each part once, in the order of the enum."""
    chosen = set(parts)
    return [part.value for part in ProofPart if part.value in chosen]


def require(session: Session, delivery: Delivery) -> None:
    """Raise `ProofRequired` unless the delivery's proofs together have the parts its company requires.

    Proofs of any time count: a phone without a network may report the pickup only after it sent the photo.
    The caller holds the delivery's row lock, so that a proof is either seen here or stored afterwards.
    """
    wanted = session.scalar(select(Company.proof_required).where(Company.id == delivery.company_id)) or []
    if not wanted:
        return
    present = _present(session, delivery.id)
    if missing := [part for part in in_order(wanted) if part not in present]:
        raise ProofRequired(delivery.status.value, missing)


def _present(session: Session, delivery_id: int) -> set[str]:
    images = (
        select(ProofImage.kind).join(DeliveryProof, DeliveryProof.id == ProofImage.proof_id).distinct()
    ).where(DeliveryProof.delivery_id == delivery_id)
    named = select(func.count(DeliveryProof.recipient_name)).where(DeliveryProof.delivery_id == delivery_id)
    found = {str(kind) for kind in session.scalars(images)}
    return found | ({ProofPart.RECIPIENT_NAME.value} if session.scalar(named) else set())
