"""Generate examples for the OpenAPI document from its own schemas.

A schema's own example wins; otherwise a field's example comes from its name, else from its type.
"""

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]
MAXIMUM_DEPTH = 8
INSTANT = "2026-03-01T12:00:00Z"
# Keyed by field name: the type alone does not suggest a useful example.
SAMPLES: Mapping[str, Any] = {
    "accuracy_m": 5.0,
    "address": "Alexanderplatz 1, Berlin",
    "altitude_m": 34.5,
    "battery_percent": 87.0,
    "course_deg": 90.0,
    "cursor": "NDI",
    "description": "Crate of apples",
    "device_id": "k3v9x0q2ma",
    "email": "name@example.com",
    "id": 42,
    "label": "GPS unit of van 7",
    "latitude": 52.52,
    "licence_number": "B072RRE2I55",
    "longitude": 13.405,
    "message": "must be later than window_start",
    "field": "window_end",
    "name": "Clara Customer",
    "html": "<p>Your delivery {{ delivery.reference }} is {{ status }}.</p>",
    "phone": "+49 30 1234567",
    "plate": "B-MP 7",
    "reason": "Nobody was at home",
    "reference": "ORDER-1001",
    "slug": "acme",
    "speed_kmh": 42.0,
    "subject": "Your delivery {{ delivery.reference }}",
    "text": "It is now {{ status }}.",
    "time_zone": "Europe/Berlin",
    "topics": "fleet/acme/#",
    "url": "https://shop.example.com/milepost",
    "user_name": "k3v9x0q2ma",
    "username": "name@example.com",
}
_PYTHON: Mapping[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "number": (int, float)}
# Fields that are null in the ordinary case.
NULLS = frozenset(
    {"archived_at", "client_id", "client_secret", "disabled_at", "ended_at", "grant_type", "next"}
)


def add_to(document: dict[str, Any]) -> None:
    """Add an ``example`` to every parameter, request body and successful response that has none."""
    components = document["components"]["schemas"]
    for operations in (*document["paths"].values(), *document["webhooks"].values()):
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                _add(parameter, components, parameter["name"])
            bodies = [operation["requestBody"]] if "requestBody" in operation else []
            answers = [answer for status, answer in operation["responses"].items() if status < "400"]
            for body in (*bodies, *answers):
                for content in body.get("content", {}).values():
                    _add(content, components, "")


def _add(target: dict[str, Any], components: Schema, name: str) -> None:
    if "example" not in target and "examples" not in target and "schema" in target:
        found = example(target["schema"], components, name)
        if found is not None:
            target["example"] = found


def example(schema: Schema, components: Schema, name: str = "", depth: int = 0) -> Any:
    """Return one value that the schema allows, or None if no example can be made."""
    if "$ref" in schema:
        return example(components[schema["$ref"].rpartition("/")[2]], components, name, depth)
    for given in (schema.get("examples", [])[:1], schema.get("enum", [])[:1]):
        if given:
            return given[0]
    for word in ("example", "const", "default"):
        if schema.get(word) is not None:
            return schema[word]
    options = [one for one in schema.get("anyOf", schema.get("oneOf", [])) if one.get("type") != "null"]
    if options:
        return None if name in NULLS else example(options[0], components, name, depth)
    return _of_type(schema, components, name, depth)


def _of_type(schema: Schema, components: Schema, name: str, depth: int) -> Any:
    kind = schema.get("type")
    if kind == "object":
        return _object(schema, components, depth)
    if kind == "array":
        item = example(schema.get("items", {}), components, name, depth + 1)
        return [] if item is None or depth > MAXIMUM_DEPTH else [item]
    if isinstance(SAMPLES.get(name), _PYTHON.get(kind or "", ())):
        return SAMPLES[name]
    if kind == "string":
        return _text(schema, name)
    if kind in {"integer", "number"}:
        return schema.get("minimum", 1)
    return False if kind == "boolean" else None


def _object(schema: Schema, components: Schema, depth: int) -> dict[str, Any]:
    if depth > MAXIMUM_DEPTH:
        return {}
    required = schema.get("required", ())
    found = {
        name: example(field, components, name, depth + 1)
        for name, field in schema.get("properties", {}).items()
    }
    return {name: value for name, value in found.items() if value is not None or name in required}


def _text(schema: Schema, name: str) -> str:
    if schema.get("format") == "date-time":
        return INSTANT
    return (name or "text").ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength", 200)]
