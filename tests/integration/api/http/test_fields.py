"""Every field of every request, wrong in each way its schema forbids, is refused by its name.

The table is the OpenAPI document, so that it has whatever routes there are.
"""

import re
from collections.abc import Iterator
from typing import Any

from starlette.testclient import TestClient

from api.http.examples import example
from core.settings import Settings
from tests.integration.api.auth.test_rights import ids
from tests.support.api_client import House, assert_bad_field, bearer, document

Schema = dict[str, Any]
JSON = "application/json"


def resolved(schema: Schema) -> Schema:
    if "$ref" in schema:
        return resolved(document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    options = [option for option in schema.get("anyOf", []) if option.get("type") != "null"]
    if options:
        return {**resolved(options[0]), "nullable": len(options) < len(schema["anyOf"])}
    return schema


def wrong_values(schema: Schema) -> Iterator[Any]:
    """At least one for each rule that the schema states."""
    schema = resolved(schema)
    yield (
        "text"
        if schema.get("type") in {"object", "array", "integer", "number", "boolean"}
        else {"an": "object"}
    )
    if not schema.get("nullable"):
        yield None
    if "enum" in schema:
        yield "no such word"
    if schema.get("format") == "date-time":
        yield from ("yesterday", "2026-03-01T12:00:00", 1772366400000)
    if "maxLength" in schema:
        yield "x" * (schema["maxLength"] + 1)
    if schema.get("minLength"):
        yield ""
    if "maximum" in schema:
        yield schema["maximum"] + 1
    if "minimum" in schema:
        yield schema["minimum"] - 2  # of some fields -1 means unknown
    if schema.get("minItems"):
        yield []
    if "maxItems" in schema:
        yield [example(schema["items"], document()["components"]["schemas"])] * (schema["maxItems"] + 1)


def wrong_bodies(schema: Schema, body: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The name of a field, and the body with that field wrong; nested fields too."""
    schema = resolved(schema)
    if name:
        yield from ((name, value) for value in wrong_values(schema))
    if schema.get("type") == "array":
        for inner, part in wrong_bodies(schema["items"], body[0], f"{name}.0"):
            yield inner, [part]
    if schema.get("type") == "object":
        prefix = f"{name}." if name else ""
        yield f"{prefix}nobody_knows_this", body | {"nobody_knows_this": 1}
        for field in schema.get("required", []):
            yield f"{prefix}{field}", {key: value for key, value in body.items() if key != field}
        for field, part_schema in schema.get("properties", {}).items():
            given = body.get(field, example(part_schema, document()["components"]["schemas"], field))
            for inner, part in wrong_bodies(part_schema, given, f"{prefix}{field}"):
                yield inner, body | {field: part}


def requests(kind: str) -> list[tuple[str, str, Schema]]:
    found = []
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            has_body = JSON in operation.get("requestBody", {}).get("content", {})
            has_query = any(one["in"] == "query" for one in operation.get("parameters", []))
            if has_body if kind == "body" else has_query:
                found.append((method, path, operation))
    return found


def filled(path: str, house: House) -> str:
    """The path with ids of the house's; what it has none of gets a 1."""
    known = {f"{noun}_id": row for noun, row in ids(house).items()}
    known |= {"event": "late", "audience": "manager", "day": "2026-11-01"}
    return re.sub(r"\{(\w+)\}", lambda match: str(known.get(match[1], 1)), path)


def test_every_field_of_every_body_is_refused_by_its_name(
    client: TestClient, house: House, settings: Settings
) -> None:
    headers, components = bearer(settings, house.manager), document()["components"]["schemas"]
    tried = 0
    for method, path, operation in requests("body"):
        schema = operation["requestBody"]["content"][JSON]["schema"]
        for field, body in wrong_bodies(schema, example(schema, components)):
            assert_bad_field(client.request(method, filled(path, house), json=body, headers=headers), field)
            tried += 1
    assert tried > 300


def test_every_parameter_of_every_query_is_refused_by_its_name(
    client: TestClient, house: House, settings: Settings
) -> None:
    headers = bearer(settings, house.manager)
    for method, path, operation in requests("query"):
        where = filled(path, house)
        for parameter in operation["parameters"]:
            if parameter["in"] != "query":
                continue
            for value in wrong_values(parameter["schema"]):
                # In a query everything is text, and an absent value no null.
                if value is None or (isinstance(value, dict) and "enum" not in resolved(parameter["schema"])):
                    continue
                query = {parameter["name"]: str(value)}
                assert_bad_field(
                    client.request(method, where, params=query, headers=headers), parameter["name"]
                )
        unknown = client.request(method, where, params={"nobody_knows_this": 1}, headers=headers)
        assert_bad_field(unknown, "nobody_knows_this")
