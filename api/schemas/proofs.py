"""Proofs of delivery as clients send and see them; sent as a form because of the images."""

from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import Path, UploadFile
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from api.schemas.fields import Output, QueryId, SentLine, SentText, Text, TextInstant
from api.schemas.tracking import StatusOut
from core.deliveries.proofs.adding import MAXIMUM_PHOTOS
from core.deliveries.proofs.images import MAXIMUM_BYTES
from core.deliveries.proofs.showing import ImageFact, ProofFact
from core.rules.enums import ImageKind, Status

_BINARY = {"type": "string", "format": "binary", "maxLength": MAXIMUM_BYTES}
# The format is detected from the content (JPEG, PNG or WebP), not from the part's own headers.
Upload = Annotated[UploadFile, WithJsonSchema(_BINARY)]
PathNumber = Annotated[QueryId, Path(le=MAXIMUM_PHOTOS + 1, examples=[1])]


def _form_schema(schema: dict[str, Any]) -> None:
    """Remove null from the fields' types: a form field is present or absent."""
    for field in schema["properties"].values():
        options = [option for option in field.pop("anyOf", ()) if option.get("type") != "null"]
        field.update({"anyOf": options} if len(options) > 1 else dict(*options))
    schema["examples"] = [{"recipient_name": "Rita Recipient", "note": "Left with the neighbour"}]


class ProofForm(BaseModel):
    """A proof: at least one of photos, signature, name and note.

    With `status` the delivery's status changes in the same transaction.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_form_schema)

    photos: Annotated[
        list[Upload],
        Field(max_length=MAXIMUM_PHOTOS, description="JPEG, PNG or WebP, at most 2 MiB each"),
    ] = []
    signature: Annotated[Upload | None, Field(description="JPEG, PNG or WebP, at most 2 MiB")] = None
    recipient_name: SentLine | None = None
    note: SentText | None = None
    occurred_at: Annotated[
        TextInstant | None,
        Field(description="by the reporter's clock, at most 30 days ago; without it, now"),
    ] = None
    latitude: Annotated[float | None, Field(allow_inf_nan=False, ge=-90, le=90)] = None
    longitude: Annotated[float | None, Field(allow_inf_nan=False, ge=-180, le=180)] = None
    status: Annotated[
        Status | None, Field(description="change the delivery's status in the same transaction")
    ] = None
    reason: Annotated[
        Text | None, Field(description="the status's reason, required for failed and returned")
    ] = None

    @model_validator(mode="after")
    def _whole_place(self) -> Self:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("give latitude and longitude, or neither")
        if self.reason is not None and self.status is None:
            raise ValueError("reason is the status's: give status too")
        return self

    @property
    def location(self) -> tuple[float, float] | None:
        if self.latitude is None or self.longitude is None:
            return None
        return self.latitude, self.longitude


class ProofImageOut(Output):
    """An image. ``url`` serves its bytes; ``sha256`` is their hash, as in the delivery's checkpoints."""

    number: int
    kind: ImageKind
    url: str
    media_type: str
    width: int
    height: int
    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, image: ImageFact, place: str) -> Self:
        return cls(
            number=image.number,
            kind=image.kind,
            url=f"{place}images/{image.number}/",
            media_type=image.media_type,
            width=image.width,
            height=image.height,
            size_bytes=image.size_bytes,
            sha256=image.sha256,
        )


class ProofOut(Output):
    """A proof; ``occurred_at`` is by the reporter's clock, ``recorded_at`` by the server's."""

    id: int
    recipient_name: str | None
    note: str | None
    latitude: float | None
    longitude: float | None
    occurred_at: datetime
    recorded_at: datetime
    images: list[ProofImageOut]

    @classmethod
    def of(cls, delivery_id: int, proof: ProofFact) -> Self:
        return cls(**_fields(delivery_id, proof))


class ProofAddedOut(ProofOut):
    """The proof that was added; ``status_change`` is null unless `status` was sent."""

    status_change: StatusOut | None

    @classmethod
    def added(cls, delivery_id: int, proof: ProofFact, change: StatusOut | None) -> Self:
        return cls(**_fields(delivery_id, proof), status_change=change)


def place_of(delivery_id: int, proof_id: int) -> str:
    return f"/deliveries/{delivery_id}/proofs/{proof_id}/"


def _fields(delivery_id: int, proof: ProofFact) -> dict[str, object]:
    place = place_of(delivery_id, proof.id)
    return {
        "id": proof.id,
        "recipient_name": proof.recipient_name,
        "note": proof.note,
        "latitude": proof.latitude,
        "longitude": proof.longitude,
        "occurred_at": proof.occurred_at,
        "recorded_at": proof.recorded_at,
        "images": [ProofImageOut.of(image, place) for image in proof.images],
    }
