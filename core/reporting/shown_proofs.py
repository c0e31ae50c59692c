"""The proofs on a delivery's report, with as many of their pictures as a printed report can hold."""

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy.orm import Session

from core.deliveries.proofs import showing
from core.deliveries.proofs.showing import ImageFact, ProofFact
from core.rules.enums import ImageKind

MAXIMUM_PICTURES = 8


class ProofShown(msgspec.Struct, frozen=True):
    """``pictures`` are the stored JPEGs and PNGs; ``left_out`` counts those that are not included."""

    fact: ProofFact
    pictures: list[tuple[ImageFact, bytes]]
    left_out: int


def read(session: Session, delivery_id: int, facts: Sequence[ProofFact]) -> list[ProofShown]:
    """Return the proofs, with up to `MAXIMUM_PICTURES`: signatures before photos, newer proofs first."""
    newest_first = [image for fact in reversed(facts) for image in fact.images]
    chosen = {image.id for image in _signatures_first(newest_first)[:MAXIMUM_PICTURES]}
    return [_shown(session, delivery_id, fact, chosen) for fact in facts]


def _shown(session: Session, delivery_id: int, fact: ProofFact, chosen: set[int]) -> ProofShown:
    images = [image for image in _signatures_first(fact.images) if image.id in chosen]
    pictures = [(image, showing.image_bytes(session, delivery_id, image.id)) for image in images]
    return ProofShown(fact, pictures, len(fact.images) - len(pictures))


def _signatures_first(images: Iterable[ImageFact]) -> list[ImageFact]:
    return sorted(images, key=lambda image: image.kind is not ImageKind.SIGNATURE)
