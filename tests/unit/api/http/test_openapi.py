"""The OpenAPI document: whole, bounded, and true to its own schemas. Whatever routes there are."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from api.http.errors import MEDIA_TYPE
from api.http.openapi import TAGS
from tests.support.api_client import document

Schema = dict[str, Any]
# OAuth2's own form, which says nothing of lengths: the limit on bodies bounds it.
UNBOUNDED = {"Body_log_in"}


def operations() -> list[Any]:
    return [
        pytest.param(method, operation, id=f"{method} {path}")
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    ]


def webhook_calls() -> list[Any]:
    """What Milepost calls; errors and bounds of these are the receiver's."""
    return [
        pytest.param("post", operations["post"], id=f"webhook {kind}")
        for kind, operations in document()["webhooks"].items()
    ]


def contents(operation: Schema) -> Iterator[tuple[str, Schema]]:
    """Every media type of the request and of each answer, with where it is."""
    for name, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"request {name}", content
    for status, answer in operation["responses"].items():
        for name, content in answer.get("content", {}).items():
            yield f"{status} {name}", content


def is_valid(schema: Schema, value: Any) -> bool:
    return jsonschema_rs.is_valid({**schema, "components": document()["components"]}, value)


def resolved(schema: Schema) -> Schema:
    if "$ref" in schema:
        found: Schema = document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return found
    return schema


@pytest.mark.parametrize(("method", "operation"), [*operations(), *webhook_calls()])
def test_operation_is_described(method: str, operation: Schema) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert operation["operationId"].isidentifier()
    assert set(operation["tags"]) <= {tag["name"] for tag in TAGS}
    assert operation["tags"]


def test_operation_ids_are_unique() -> None:
    params = [*operations(), *webhook_calls()]
    ids = Counter(param.values[1]["operationId"] for param in params)
    assert [name for name, count in ids.items() if count > 1] == []


@pytest.mark.parametrize(("method", "operation"), operations())
def test_errors_have_one_shape_and_what_must_be_declared_is(method: str, operation: Schema) -> None:
    needed = {"503"}
    needed |= {"401", "403"} if "security" in operation else set()
    needed |= {"400", "413", "422"} if "requestBody" in operation else set()
    places = {parameter["in"] for parameter in operation.get("parameters", [])}
    needed |= {"404"} if "path" in places else set()
    needed |= {"422"} if "query" in places else set()
    assert needed <= operation["responses"].keys()
    for status, answer in operation["responses"].items():
        assert answer["description"], status
        if status >= "400":
            assert answer["content"][MEDIA_TYPE]["schema"] == {"$ref": "#/components/schemas/Problem"}
            assert answer["content"][MEDIA_TYPE]["example"]["status"] == int(status)


@pytest.mark.parametrize(("method", "operation"), [*operations(), *webhook_calls()])
def test_examples_are_there_and_valid(method: str, operation: Schema) -> None:
    for where, content in contents(operation):
        if not content.get("schema"):
            continue
        schema = resolved(content["schema"])
        shown = [content["example"]] if "example" in content else []
        shown += schema.get("examples", [])
        assert shown, where
        for example in shown:
            assert is_valid(content["schema"], example), f"{where}: {example}"
    for parameter in operation.get("parameters", []):
        assert is_valid(parameter["schema"], parameter["example"]), parameter["name"]


@pytest.mark.parametrize(("method", "operation"), operations())
def test_what_is_taken_is_bounded(method: str, operation: Schema) -> None:
    for parameter in operation.get("parameters", []):
        assert list(unbounded(parameter["schema"], parameter["name"])) == []
    for content in operation.get("requestBody", {}).get("content", {}).values():
        if content["schema"]["$ref"].rpartition("/")[2] not in UNBOUNDED:
            assert list(unbounded(content["schema"], "body")) == []


def unbounded(schema: Schema, where: str) -> Iterator[str]:
    """The fields that may be as large as one likes."""
    schema = resolved(schema)
    for option in schema.get("anyOf", []):
        yield from unbounded(option, where)
    for name, field in schema.get("properties", {}).items():
        yield from unbounded(field, f"{where}.{name}")
    if "items" in schema:
        yield from unbounded(schema["items"], f"{where}[]")
    if not limits_of(schema) & schema.keys() and limits_of(schema):
        yield where
    if schema.get("type") == "object":
        assert schema.get("additionalProperties") is False, f"{where} takes fields that it does not know"


def limits_of(schema: Schema) -> set[str]:
    """One of these keywords bounds a value of this type; none: it needs no bound."""
    if "enum" in schema or "const" in schema:
        return set()
    words = {
        "string": {"maxLength", "format"},
        "array": {"maxItems"},
        "integer": {"maximum", "exclusiveMaximum"},
        "number": {"maximum", "exclusiveMaximum"},
    }
    return words.get(schema.get("type", ""), set())
