"""Locations, status changes and the checkpoints they leave."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, Strict, WithJsonSchema

from api.schemas.fields import Input, Instant, Latitude, Longitude, Output, Text
from api.schemas.places import Coordinates
from core.deliveries.status_changes import StatusChange
from core.models.delivery import DeliveryCheckpoint
from core.rules.enums import CheckpointKind, Status
from core.rules.fix import RANGES, UNKNOWN, Fix, coordinate

_LIMITS = {name: Field(ge=low, le=high, allow_inf_nan=False) for name, low, high in RANGES}


def _known(value: Any) -> Any:
    """Return None for the value with which phones report "unknown"."""
    return None if type(value) in {int, float} and value == UNKNOWN else value


def _or_unknown(name: str) -> WithJsonSchema:
    [limits] = [{"minimum": low, "maximum": high} for known, low, high in RANGES if known == name]
    options: list[JsonValue] = [
        {"type": "number", **limits},
        {"type": "integer", "enum": [int(UNKNOWN)], "description": "unknown"},
        {"type": "null"},
    ]
    return WithJsonSchema({"anyOf": options})


Speed = Annotated[float, Strict(), _LIMITS["speed_kmh"]]
Course = Annotated[float, Strict(), _LIMITS["course_deg"]]
Accuracy = Annotated[float, Strict(), _LIMITS["accuracy_m"]]
SpeedOrUnknown = Annotated[Speed | None, BeforeValidator(_known), _or_unknown("speed_kmh")]
CourseOrUnknown = Annotated[Course | None, BeforeValidator(_known), _or_unknown("course_deg")]
AccuracyOrUnknown = Annotated[Accuracy | None, BeforeValidator(_known), _or_unknown("accuracy_m")]
Altitude = Annotated[float, Strict(), _LIMITS["altitude_m"]]
Battery = Annotated[float, Strict(), _LIMITS["battery_percent"]]


class LocationIn(Input):
    """A location: degrees WGS 84, km/h, metres, percent.

    A speed, course or accuracy of -1 is unknown, as null is. Without ``fix_time`` the server's clock counts.

    Send ``fix_time`` when you can: only then is a repeated request recognised as the same fix, and an old fix
    as old.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"latitude": 52.5, "longitude": 13.3, "speed_kmh": 42.0}]}
    )

    latitude: Latitude
    longitude: Longitude
    fix_time: Annotated[Instant | None, Field(description="by the device's clock, at most 30 days old")] = (
        None
    )
    speed_kmh: SpeedOrUnknown = None
    course_deg: CourseOrUnknown = None
    altitude_m: Altitude | None = None
    accuracy_m: AccuracyOrUnknown = None
    battery_percent: Battery | None = None

    def fix(self, now: datetime) -> Fix:
        return Fix(
            fix_time=self.fix_time or now,
            latitude=coordinate(self.latitude),
            longitude=coordinate(self.longitude),
            altitude_m=self.altitude_m,
            speed_kmh=self.speed_kmh,
            course_deg=self.course_deg,
            accuracy_m=self.accuracy_m,
            battery_percent=self.battery_percent,
        )


class LocationOut(Output):
    """The stored location.

    ``duplicate``: the same fix was stored before. ``eta`` needs the drop-off's coordinates.
    """

    result: Literal["stored", "duplicate"]
    fix_time: datetime
    eta: datetime | None


class StatusIn(Input):
    """A status change. ``occurred_at`` is by the reporter's clock (else now).

    ``reason`` is required for failed and returned.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "pickup_in_progress"}]})

    status: Status
    reason: Text | None = None
    occurred_at: Instant | None = None
    location: Coordinates | None = None


ActorKind = Literal["user", "driver", "device", "token"]


class ActorOut(Output):
    """The actor: a `user`, a `driver` over REST or by phone, a `device` on its own, or an API `token`.

    A token belongs to an integration. Customers see the kind only. All null: no actor was recorded.
    """

    kind: ActorKind | None
    user_id: int | None
    driver_id: int | None
    device_id: str | None
    api_token_id: int | None

    @classmethod
    def of(cls, checkpoint: DeliveryCheckpoint, *, is_named: bool) -> Self:
        named = checkpoint if is_named else None
        kind: ActorKind | None = None
        # A driver counts as one over REST and by phone, so its id comes first.
        if checkpoint.actor_driver_id is not None:
            kind = "driver"
        elif checkpoint.actor_user_id is not None:
            kind = "user"
        elif checkpoint.actor_api_token_id is not None:
            kind = "token"
        elif checkpoint.actor_device_id is not None:
            kind = "device"
        return cls(
            kind=kind,
            user_id=named and named.actor_user_id,
            driver_id=named and named.actor_driver_id,
            device_id=named and named.actor_device_id,
            api_token_id=named and named.actor_api_token_id,
        )


class ProofMark(Output):
    """The proof that a checkpoint refers to, and the SHA-256 of its images in order."""

    id: int
    sha256s: list[str]


class CheckpointOut(Output):
    """A checkpoint; ``occurred_at`` is by the reporter's clock, ``recorded_at`` by the server's."""

    id: int
    kind: CheckpointKind
    status: Status
    vehicle_id: int | None
    driver_id: int | None
    latitude: float | None
    longitude: float | None
    speed_kmh: float | None
    course_deg: float | None
    accuracy_m: float | None
    reason: str | None
    occurred_at: datetime
    recorded_at: datetime
    actor: ActorOut
    proof: ProofMark | None

    @classmethod
    def of(cls, checkpoint: DeliveryCheckpoint, *, names_actor: bool = True) -> Self:
        proof = None
        if checkpoint.proof_id is not None:
            proof = ProofMark(id=checkpoint.proof_id, sha256s=checkpoint.proof_sha256s or [])
        return cls(
            id=checkpoint.id,
            kind=checkpoint.kind,
            status=checkpoint.status,
            vehicle_id=checkpoint.vehicle_id,
            driver_id=checkpoint.driver_id,
            latitude=checkpoint.latitude,
            longitude=checkpoint.longitude,
            speed_kmh=checkpoint.speed_kmh,
            course_deg=checkpoint.course_deg,
            accuracy_m=checkpoint.accuracy_m,
            reason=checkpoint.reason,
            occurred_at=checkpoint.occurred_at,
            recorded_at=checkpoint.recorded_at,
            actor=ActorOut.of(checkpoint, is_named=names_actor),
            proof=proof,
        )


class StatusOut(Output):
    """The result of a status change.

    ``unchanged``: the same user or integration made the same change before; nothing was written, and the
    checkpoint is the first change's.
    """

    result: Literal["changed", "unchanged"]
    status: Status
    version: int
    checkpoint: CheckpointOut

    @classmethod
    def of(cls, change: StatusChange) -> Self:
        return cls(
            result="changed" if change.written else "unchanged",
            status=change.delivery.status,
            version=change.delivery.version,
            checkpoint=CheckpointOut.of(change.checkpoint),
        )
