"""Read a delivery's proofs and their pictures."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from core.access.scoping import MAXIMUM_ID
from core.errors import NotFound
from core.models.proof import DeliveryProof, ProofImage
from core.rules.enums import ImageKind


class ImageFact(msgspec.Struct, frozen=True):
    """``number`` counts within the proof; edges in pixels; ``sha256`` of the bytes, in hex."""

    id: int
    number: int
    kind: ImageKind
    media_type: str
    width: int
    height: int
    size_bytes: int
    sha256: str


class ProofFact(msgspec.Struct, frozen=True):
    """A stored proof; erased fields are None, erased pictures are missing from ``images``."""

    id: int
    recipient_name: str | None
    note: str | None
    latitude: float | None
    longitude: float | None
    occurred_at: datetime
    recorded_at: datetime
    actor_user_id: int | None
    actor_driver_id: int | None
    images: list[ImageFact]


def of_delivery(session: Session, delivery_id: int) -> list[ProofFact]:
    """Return the proofs in order of arrival. The caller has checked that the actor may see the delivery."""
    rows = session.scalars(
        select(DeliveryProof).where(DeliveryProof.delivery_id == delivery_id).order_by(DeliveryProof.id)
    ).all()
    images = _images(session, [row.id for row in rows])
    return [_fact(row, images.get(row.id, [])) for row in rows]


def find(session: Session, delivery_id: int, proof_id: int) -> ProofFact:
    """Return one proof of a delivery that the actor may see. Raises `NotFound`."""
    query = select(DeliveryProof).where(
        DeliveryProof.id == proof_id, DeliveryProof.delivery_id == delivery_id
    )
    row = session.scalar(query) if 0 < proof_id <= MAXIMUM_ID else None
    if row is None:
        raise NotFound("proof")
    return _fact(row, _images(session, [row.id]).get(row.id, []))


def image(session: Session, delivery_id: int, proof_id: int, number: int) -> ImageFact:
    """Return one picture of the delivery's proof. Raises `NotFound`, also for an erased picture."""
    for found in find(session, delivery_id, proof_id).images:
        if found.number == number:
            return found
    raise NotFound("picture")


def image_bytes(session: Session, delivery_id: int, image_id: int) -> bytes:
    """Return the JPEG or PNG. Raises `NotFound`. The caller has checked access to the delivery."""
    content = session.scalar(
        select(ProofImage.content)
        .join(DeliveryProof, DeliveryProof.id == ProofImage.proof_id)
        .where(ProofImage.id == image_id, DeliveryProof.delivery_id == delivery_id)
    )
    if content is None:
        raise NotFound("picture")
    return bytes(content)


def _images(session: Session, proof_ids: Sequence[int]) -> Mapping[int, list[ImageFact]]:
    """Return the pictures per proof in order, without their bytes and without erased ones."""
    rows = session.execute(
        select(
            ProofImage.proof_id,
            ProofImage.id,
            ProofImage.number,
            ProofImage.kind,
            ProofImage.media_type,
            ProofImage.width,
            ProofImage.height,
            ProofImage.size_bytes,
            ProofImage.sha256,
        )
        .where(ProofImage.proof_id.in_(proof_ids), ProofImage.content.is_not(None))
        .order_by(ProofImage.proof_id, ProofImage.number)
    )
    found: dict[int, list[ImageFact]] = {}
    for row in rows:
        found.setdefault(row.proof_id, []).append(_image_fact(row))
    return found


def _image_fact(row: Row[int, int, int, ImageKind, str, int, int, int, bytes]) -> ImageFact:
    return ImageFact(
        id=row.id,
        number=row.number,
        kind=ImageKind(row.kind),
        media_type=row.media_type,
        width=row.width,
        height=row.height,
        size_bytes=row.size_bytes,
        sha256=bytes(row.sha256).hex(),
    )


def _fact(row: DeliveryProof, images: list[ImageFact]) -> ProofFact:
    return ProofFact(
        id=row.id,
        recipient_name=row.recipient_name,
        note=row.note,
        latitude=row.latitude,
        longitude=row.longitude,
        occurred_at=row.occurred_at,
        recorded_at=row.recorded_at,
        actor_user_id=row.actor_user_id,
        actor_driver_id=row.actor_driver_id,
        images=images,
    )
