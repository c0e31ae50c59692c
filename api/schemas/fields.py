"""The types of fields: strict, bounded, and nothing in them that PostgreSQL or MQTT could not carry."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Path
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
)

from core import emails
from core.passwords import MAXIMUM_LENGTH, MINIMUM_LENGTH
from core.scoping import MAXIMUM_ID

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# For the OpenAPI document, what `_one_line`, `no_nul` and stripping ask; their own errors say it better.
_LINE_PATTERN = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f\x85][^\x00-\x1f\x7f]*$"
_TEXT_PATTERN = r"^[^\x00]*[^\s\x00\x85][^\x00]*$"
_ISO = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d.*", re.ASCII)
_DIGITS = re.compile(r"[1-9]\d{0,9}", re.ASCII)


class Input(BaseModel):
    """What clients send: a field we do not know is an error, not a typo that is lost."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def sent(self) -> dict[str, Any]:
        """The fields that were sent, each whole: for PATCH, where what is left out stays as it is."""
        return {name: value for name, value in self.model_dump().items() if name in self.model_fields_set}


class Output(BaseModel):
    model_config = ConfigDict(from_attributes=True, frozen=True)


def _one_line(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("must not contain control characters")
    return text


def no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL")
    return text


def _iso_text(value: Any) -> Any:
    if not isinstance(value, str) or not _ISO.fullmatch(value):
        raise ValueError("must be an ISO 8601 date and time with a zone, as in 2026-03-01T12:00:00Z")
    return value


def _utc(instant: datetime) -> datetime:
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie within the years 1 to 9999") from None


def whole(value: Any) -> Any:
    """JSON knows no integers: 1.0 is 1, as its schemas say too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _digits(value: Any) -> Any:
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        raise ValueError("must be a number")
    return value


Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_one_line),
    Field(json_schema_extra={"pattern": _LINE_PATTERN}),
]
Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=1000),
    AfterValidator(no_nul),
    Field(json_schema_extra={"pattern": _TEXT_PATTERN}),
]
Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=3, max_length=emails.MAXIMUM_LENGTH),
    AfterValidator(emails.require_usable),
    Field(examples=["name@example.com"], json_schema_extra={"format": "idn-email"}),
]
Password = Annotated[str, StringConstraints(min_length=MINIMUM_LENGTH, max_length=MAXIMUM_LENGTH)]
Positive = Annotated[float, Strict(), Field(allow_inf_nan=False, ge=0, le=1e9)]
Latitude = Annotated[float, Strict(), Field(allow_inf_nan=False, ge=-90, le=90)]
Longitude = Annotated[float, Strict(), Field(allow_inf_nan=False, ge=-180, le=180)]
RowId = Annotated[int, Strict(), Field(ge=1, le=MAXIMUM_ID), BeforeValidator(whole)]
Instant = Annotated[AwareDatetime, BeforeValidator(_iso_text), AfterValidator(_utc)]

# In a path or a query, where everything is text. A path that breaks these answers 404.
BrokerUrl = Annotated[
    str, Field(description="Where to connect with MQTT.", examples=["mqtts://mqtt.example.com:8883"])
]
QueryId = Annotated[int, Field(ge=1, le=MAXIMUM_ID, examples=[42]), BeforeValidator(_digits)]
PathId = Annotated[QueryId, Path()]
PathDevice = Annotated[str, Path(pattern="^[a-z0-9]{10}$", max_length=10, examples=["k3v9x0q2ma"])]
