"""The fields of an edit: those that are `msgspec.UNSET` stay as they are."""

from typing import Any

import msgspec


def set_fields(changes: msgspec.Struct) -> dict[str, Any]:
    """Return the fields that the edit sets, by name; a field set to None is cleared."""
    return {
        name: value for name, value in msgspec.structs.asdict(changes).items() if value is not msgspec.UNSET
    }
