"""Proofs of delivery (POD): added by the driver or a manager, visible with the delivery, never changed.

A mistake is corrected by adding another proof. A delivery takes proofs in any status: a phone that was
offline may send its photo before it reports the pickup, or days after the end.
"""

import hashlib
from datetime import datetime

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.deliveries import lookup, publishing
from core.deliveries.proofs.images import Picture
from core.deliveries.proofs.showing import ProofFact, find
from core.errors import Conflict, Forbidden, InvalidValue
from core.models.delivery import Delivery, DeliveryCheckpoint
from core.models.proof import DeliveryProof, ProofImage
from core.records import audit
from core.rules.enums import CheckpointKind, Role
from core.rules.fix import position_problem
from core.rules.lifecycle import reported_time
from core.rules.text.spelling import composed

MAXIMUM_PHOTOS = 5  # per proof, besides one signature
MAXIMUM_PROOFS = 20  # per delivery


class ProofNew(msgspec.Struct, frozen=True, kw_only=True):
    """``occurred_at`` is by the reporter's clock (None: now), ``location`` latitude, longitude in degrees."""

    recipient_name: str | None = None
    note: str | None = None
    occurred_at: datetime | None = None
    location: tuple[float, float] | None = None
    pictures: tuple[Picture, ...] = ()


class ProofAdded(msgspec.Struct, frozen=True):
    """``written`` is False for a retry: the identical proof was already stored."""

    proof: ProofFact
    written: bool


def require_may_add(session: Session, actor: Actor, delivery_id: int) -> None:
    """Check permission before any picture is decoded. Raises `NotFound`, `Forbidden`."""
    lookup.require_visible(session, actor, delivery_id)
    _require_writer(actor)


def add(session: Session, actor: Actor, delivery_id: int, new: ProofNew, now: datetime) -> ProofAdded:
    """Store a proof and its checkpoint. An identical proof from any actor writes nothing.

    Raises `NotFound`, `Forbidden`, `InvalidValue`, and `Conflict` when the delivery has too many proofs or
    its customer was erased: a phone that was offline must not bring the name and the signature back.
    """
    delivery = lookup.lock(session, actor, delivery_id)
    _require_writer(actor)
    _require_content(new)
    if delivery.erased_at is not None:
        raise Conflict("The data of the delivery's customer were erased: it takes no proof any more.")
    mark = fingerprint(new)
    if (present := _by_fingerprint(session, delivery_id, mark)) is not None:
        return ProofAdded(present, written=False)
    _require_below_maximum(session, delivery_id)
    proof = _store(session, actor, delivery, new, mark, now)
    audit.added(session, actor, proof)
    _record(session, actor, delivery, proof, new, now)
    return ProofAdded(find(session, delivery_id, proof.id), written=True)


def fingerprint(new: ProofNew) -> bytes:
    """Return the SHA-256 of the request, with pictures by their own hash: equal ones are the same proof."""
    pictures = [(picture.kind.value, picture.source_sha256.hex()) for picture in new.pictures]
    fields = (new.recipient_name, new.note, new.occurred_at, new.location, pictures)
    return hashlib.sha256(msgspec.json.encode(fields)).digest()


def _require_writer(actor: Actor) -> None:
    if actor.role not in {Role.MANAGER, Role.DRIVER}:
        raise Forbidden("Only the delivery's driver or a manager adds a proof.")


def _require_content(new: ProofNew) -> None:
    if not (new.pictures or new.recipient_name or new.note):
        raise InvalidValue("photos", "send a photo, a signature, the recipient's name or a note")
    if new.location is not None and (problem := position_problem(*new.location)):
        raise InvalidValue("latitude", problem)


def _require_below_maximum(session: Session, delivery_id: int) -> None:
    query = select(func.count()).where(DeliveryProof.delivery_id == delivery_id)
    if (session.scalar(query) or 0) >= MAXIMUM_PROOFS:
        raise Conflict(f"A delivery has at most {MAXIMUM_PROOFS} proofs.", maximum=MAXIMUM_PROOFS)


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
        occurred_at=reported_time(new.occurred_at, [], now),
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
    return publishing.write_checkpoint(
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
