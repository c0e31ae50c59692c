"""Field types: strict, bounded, and free of values that PostgreSQL or MQTT could not carry."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Path
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    WithJsonSchema,
)

from core.access.scoping import MAXIMUM_ID
from core.accounts.passwords import MAXIMUM_LENGTH, MINIMUM_LENGTH
from core.rules.text import emails
from core.rules.text.spelling import composed
from core.rules.times import instants
from core.rules.times.instants import SHOULD_BE

_Command = TypeVar("_Command", bound=msgspec.Struct)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# For the OpenAPI document: what `_one_line`, `no_nul` and stripping require. Their own error messages are
# clearer.
_LINE_PATTERN = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f\x85][^\x00-\x1f\x7f]*$"
_TEXT_PATTERN = r"^[^\x00]*[^\s\x00\x85][^\x00]*$"
_DIGITS = re.compile(r"[1-9]\d{0,9}", re.ASCII)


class Input(BaseModel):
    """What clients send. An unknown field is an error, so that a typo is not lost silently."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def sent(self) -> dict[str, Any]:
        """Return the fields that were sent, each whole, for PATCH: omitted fields stay as they are."""
        return {name: value for name, value in self.model_dump().items() if name in self.model_fields_set}

    def to(self, command: type[_Command]) -> _Command:
        """Translate the fields that were sent into a command of `core`, whose defaults hold for the rest."""
        return command(**self.sent())


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


def stored(minimum: int, maximum: int) -> Callable[[str], str]:
    """Return a validator that normalizes a text as it is stored and checks the length once more.

    It follows a validator of the length as sent.
    """

    def normalized(text: str) -> str:
        normal = composed(text)
        if not minimum <= len(normal) <= maximum:
            raise ValueError(f"must have {minimum} to {maximum} characters")
        return normal

    return normalized


def _instant(value: Any) -> datetime:
    """Parse an instant from JSON, where a number is epoch seconds."""
    if type(value) is str:
        return instants.from_iso(value)
    if type(value) in {int, float}:
        return instants.from_epoch_seconds(value)
    raise ValueError(f"must be {SHOULD_BE}")


def _text_instant(value: Any) -> datetime:
    if type(value) is str:
        return instants.from_text(value)
    raise ValueError(f"must be {SHOULD_BE}")


def whole(value: Any) -> Any:
    """Turn 1.0 into 1: JSON has no integers, and the schemas allow both."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _digits(value: Any) -> Any:
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        raise ValueError("must be a number")
    return value


# As sent, to fingerprint repeated requests. Code that stores it must call `composed`.
SentLine = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_one_line),
    Field(json_schema_extra={"pattern": _LINE_PATTERN}),
]
SentText = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=1000),
    AfterValidator(no_nul),
    Field(json_schema_extra={"pattern": _TEXT_PATTERN}),
]
Line = Annotated[SentLine, AfterValidator(stored(1, 200))]
Text = Annotated[SentText, AfterValidator(stored(1, 1000))]
Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=3, max_length=emails.MAXIMUM_LENGTH),
    AfterValidator(stored(3, emails.MAXIMUM_LENGTH)),
    AfterValidator(emails.require_usable),
    Field(examples=["name@example.com"], json_schema_extra={"format": "idn-email"}),
]
Password = Annotated[
    str,
    StringConstraints(min_length=MINIMUM_LENGTH, max_length=MAXIMUM_LENGTH),
    AfterValidator(stored(MINIMUM_LENGTH, MAXIMUM_LENGTH)),
]
Positive = Annotated[float, Strict(), Field(allow_inf_nan=False, ge=0, le=1e9)]
Latitude = Annotated[float, Strict(), Field(allow_inf_nan=False, ge=-90, le=90)]
Longitude = Annotated[float, Strict(), Field(allow_inf_nan=False, ge=-180, le=180)]
RowId = Annotated[int, Strict(), Field(ge=1, le=MAXIMUM_ID), BeforeValidator(whole)]
_DATE_TIME: dict[str, Any] = {"type": "string", "format": "date-time"}
_SECONDS: dict[str, Any] = {"type": "number", "description": "epoch seconds"}
_SECONDS |= {"minimum": -62_135_596_800, "maximum": 253_402_300_799}  # of the years 1 to 9999
_INSTANT_SCHEMA = WithJsonSchema({"anyOf": [_DATE_TIME, _SECONDS]})
Instant = Annotated[datetime, BeforeValidator(_instant), _INSTANT_SCHEMA]

BrokerUrl = Annotated[
    str, Field(description="Where to connect with MQTT.", examples=["mqtts://mqtt.example.com:8883"])
]
# For paths, queries and forms, where every value is text. An invalid path value answers 404.
TextInstant = Annotated[datetime, BeforeValidator(_text_instant), _INSTANT_SCHEMA]
QueryId = Annotated[int, Field(ge=1, le=MAXIMUM_ID, examples=[42]), BeforeValidator(_digits)]
PathId = Annotated[QueryId, Path()]
PathDevice = Annotated[str, Path(pattern="^[a-z0-9]{10}$", max_length=10, examples=["k3v9x0q2ma"])]
