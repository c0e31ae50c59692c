"""Proofs of delivery: added by the driver or a manager, seen by whoever sees the delivery, never changed.

A mistake is set right by another proof. Any status may have one: a phone that was offline sends its photo
before the pickup it tells of later, or days after the end.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from core import audit, deliveries, history
from core.actors import Actor
from core.errors import Conflict, Forbidden, InvalidValue, NotFound
from core.fixes import FUTURE_LIMIT, position_problem
from core.models import CheckpointKind, Delivery, DeliveryCheckpoint, Role
from core.proof_images import Picture
from core.proof_models import DeliveryProof, ImageKind, ProofImage
from core.scoping import MAXIMUM_ID
from core.spelling import composed

MAXIMUM_PHOTOS = 5  # of one proof, beside one signature
MAXIMUM_PROOFS = 20  # of one delivery


class ProofNew(msgspec.Struct, frozen=True, kw_only=True):
    """``occurred_at`` is the reporter's clock; None: now. ``location`` is latitude, longitude in degrees."""

    recipient_name: str | None = None
    note: str | None = None
    occurred_at: datetime | None = None
    location: tuple[float, float] | None = None
    pictures: tuple[Picture, ...] = ()


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
    """A proof as it stands; what was erased is None, or no longer among ``images``."""

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


class ProofAdded(msgspec.Struct, frozen=True):
    """``written`` is False for a repetition: the very same proof was there."""

    proof: ProofFact
    written: bool


def require_may_add(session: Session, actor: Actor, delivery_id: int) -> None:
    """Before any picture is looked at. Raises `NotFound`, `Forbidden`."""
    deliveries.require_visible(session, actor, delivery_id)
    _require_writer(actor)


def add(session: Session, actor: Actor, delivery_id: int, new: ProofNew, now: datetime) -> ProofAdded:
    """Store a proof and its checkpoint. The same again, by anybody, writes nothing.

    Raises `NotFound`, `Forbidden`, `InvalidValue`, and `Conflict` when the delivery has too many, or its
    customer was erased: a phone that was offline must not bring the name and the signature back.
    """
    delivery = deliveries.lock(session, actor, delivery_id)
    _require_writer(actor)
    _require_something(new)
    if delivery.erased_at is not None:
        raise Conflict("The data of the delivery's customer were erased: it takes no proof any more.")
    mark = fingerprint(new)
    if (present := _by_fingerprint(session, delivery_id, mark)) is not None:
        return ProofAdded(present, written=False)
    _require_room(session, delivery_id)
    proof = _store(session, actor, delivery, new, mark, now)
    audit.added(session, actor, proof)
    _record(session, actor, delivery, proof, new, now)
    return ProofAdded(find(session, delivery_id, proof.id), written=True)


def fingerprint(new: ProofNew) -> bytes:
    """SHA-256 of what was sent, the pictures by their own: two with the same are the same proof."""
    pictures = [(picture.kind.value, picture.source_sha256.hex()) for picture in new.pictures]
    fields = (new.recipient_name, new.note, new.occurred_at, new.location, pictures)
    return hashlib.sha256(msgspec.json.encode(fields)).digest()


def of_delivery(session: Session, delivery_id: int) -> list[ProofFact]:
    """In the order they came. The caller has made sure that the delivery may be seen."""
    rows = session.scalars(
        select(DeliveryProof).where(DeliveryProof.delivery_id == delivery_id).order_by(DeliveryProof.id)
    ).all()
    images = _images(session, [row.id for row in rows])
    return [_fact(row, images.get(row.id, [])) for row in rows]


def find(session: Session, delivery_id: int, proof_id: int) -> ProofFact:
    """One of the delivery's, which may be seen. Raises `NotFound`."""
    query = select(DeliveryProof).where(
        DeliveryProof.id == proof_id, DeliveryProof.delivery_id == delivery_id
    )
    row = session.scalar(query) if 0 < proof_id <= MAXIMUM_ID else None
    if row is None:
        raise NotFound("proof")
    return _fact(row, _images(session, [row.id]).get(row.id, []))


def image(session: Session, delivery_id: int, proof_id: int, number: int) -> ImageFact:
    """One picture of the delivery's proof. Raises `NotFound`, for an erased one too."""
    for found in find(session, delivery_id, proof_id).images:
        if found.number == number:
            return found
    raise NotFound("picture")


def image_bytes(session: Session, delivery_id: int, image_id: int) -> bytes:
    """The JPEG or PNG. Raises `NotFound`. The caller has made sure that the delivery may be seen."""
    content = session.scalar(
        select(ProofImage.content)
        .join(DeliveryProof, DeliveryProof.id == ProofImage.proof_id)
        .where(ProofImage.id == image_id, DeliveryProof.delivery_id == delivery_id)
    )
    if content is None:
        raise NotFound("picture")
    return bytes(content)


def _require_writer(actor: Actor) -> None:
    if actor.role not in {Role.MANAGER, Role.DRIVER}:
        raise Forbidden("Only the delivery's driver or a manager adds a proof.")


def _require_something(new: ProofNew) -> None:
    if not (new.pictures or new.recipient_name or new.note):
        raise InvalidValue("photos", "send a photo, a signature, the recipient's name or a note")
    if new.location is not None and (problem := position_problem(*new.location)):
        raise InvalidValue("latitude", problem)


def _require_room(session: Session, delivery_id: int) -> None:
    query = select(func.count()).where(DeliveryProof.delivery_id == delivery_id)
    if (session.scalar(query) or 0) >= MAXIMUM_PROOFS:
        raise Conflict(f"A delivery has at most {MAXIMUM_PROOFS} proofs.", maximum=MAXIMUM_PROOFS)


def _occurred_at(new: ProofNew, now: datetime) -> datetime:
    if new.occurred_at is None:
        return now
    if not now - deliveries.OFFLINE_LIMIT <= new.occurred_at <= now + FUTURE_LIMIT:
        raise InvalidValue("occurred_at", "must lie within the last 30 days, and not in the future")
    return min(new.occurred_at, now)


def _store(
    session: Session, actor: Actor, delivery: Delivery, new: ProofNew, mark: bytes, now: datetime
) -> DeliveryProof:
    latitude, longitude = new.location or (None, None)
    proof = DeliveryProof(
        company_id=delivery.company_id,
        delivery_id=delivery.id,
        recipient_name=new.recipient_name and composed(new.recipient_name),
        note=new.note and composed(new.note),
        latitude=latitude,
        longitude=longitude,
        fingerprint=mark,
        occurred_at=_occurred_at(new, now),
        recorded_at=now,
        actor_user_id=actor.user_id,
        actor_driver_id=actor.driver_id,
    )
    session.add(proof)
    session.flush()
    session.add_all(_image(proof, number, picture) for number, picture in enumerate(new.pictures, 1))
    session.flush()
    return proof


def _image(proof: DeliveryProof, number: int, picture: Picture) -> ProofImage:
    return ProofImage(
        company_id=proof.company_id,
        proof_id=proof.id,
        number=number,
        kind=picture.kind,
        media_type=picture.media_type,
        width=picture.width,
        height=picture.height,
        size_bytes=len(picture.content),
        sha256=picture.sha256,
        content=picture.content,
    )


def _record(
    session: Session, actor: Actor, delivery: Delivery, proof: DeliveryProof, new: ProofNew, now: datetime
) -> DeliveryCheckpoint:
    return history.write(
        session,
        delivery,
        CheckpointKind.PROOF,
        actor,
        occurred_at=proof.occurred_at,
        now=now,
        location=new.location,
        proof_id=proof.id,
        proof_sha256s=[picture.sha256.hex() for picture in new.pictures],
    )


def _by_fingerprint(session: Session, delivery_id: int, mark: bytes) -> ProofFact | None:
    found = session.scalar(
        select(DeliveryProof.id).where(
            DeliveryProof.delivery_id == delivery_id, DeliveryProof.fingerprint == mark
        )
    )
    return None if found is None else find(session, delivery_id, found)


def _images(session: Session, proof_ids: Sequence[int]) -> Mapping[int, list[ImageFact]]:
    """By proof, in order, without their bytes and without the erased ones."""
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
