"""The base class of the ORM models, with its column types and constraint names."""

import enum
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    DateTime,
    Enum,
    LargeBinary,
    MetaData,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase

from core.rules.enums import CheckpointKind, Role, Status

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


def one_of(column: str, values: Iterable[enum.StrEnum]) -> str:
    """Return the SQL condition that ``column`` holds one of these enum values."""
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


def enum_column(values: type[enum.StrEnum], length: int) -> Enum:
    """Return a type that stores an enum as text in a VARCHAR and reads it back as the enum."""
    return Enum(
        values, native_enum=False, length=length, values_callable=lambda enum: [v.value for v in enum]
    )


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        str: Text,
        bytes: LargeBinary,
        Role: enum_column(Role, 16),
        Status: enum_column(Status, 32),
        CheckpointKind: enum_column(CheckpointKind, 16),
    }
