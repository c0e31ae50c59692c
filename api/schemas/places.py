"""Addresses and coordinates: nested in JSON, flat in the tables."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import ConfigDict, JsonValue, model_validator

from api.schemas.fields import Input, Latitude, Longitude, Output, Text

_EXAMPLE: dict[str, JsonValue] = {
    "address": "Alexanderplatz 1, Berlin",
    "latitude": 52.52,
    "longitude": 13.405,
}


class Coordinates(Input):
    """Coordinates in degrees, WGS 84."""

    latitude: Latitude
    longitude: Longitude


class Place(Input):
    """An address. Coordinates are optional but come in pairs; the drop-off's make an ETA possible."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    address: Text
    latitude: Latitude | None = None
    longitude: Longitude | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude must be given together")
        return self


class PlaceOut(Output):
    address: str
    latitude: float | None
    longitude: float | None


def flat(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``pickup`` and ``dropoff`` as the columns ``pickup_address``, ``pickup_latitude`` and so on."""
    columns = dict(fields)
    for side in ("pickup", "dropoff"):
        if place := columns.pop(side, None):
            for name in ("address", "latitude", "longitude"):
                columns[f"{side}_{name}"] = place.get(name)
    return columns
