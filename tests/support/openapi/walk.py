"""The OpenAPI document as requests: every operation, with ids of our choice. No route is named here.

A path is walked with values made from its schemas: an example where there is one, else the least that is
valid. What a new route needs to be walked is a schema from which a request can be made.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.testclient import TestClient

Json = dict[str, Any]
Ids = Mapping[str, Any]  # by name, as in paths and bodies: "vehicle_id"
METHODS = frozenset({"get", "post", "put", "patch", "delete"})
MULTIPART = "multipart/form-data"
VARYING = frozenset({"instance", "trace_id", "request_id"})
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Operation:
    document: Json
    method: str
    path: str
    parameters: list[Json]
    content: Json
    is_secured: bool

    @property
    def name(self) -> str:
        return f"{self.method.upper()} {self.path}"

    @property
    def path_ids(self) -> list[str]:
        return [name for name in re.findall(r"{(\w+)}", self.path) if is_id(name)]

    @property
    def query_ids(self) -> list[str]:
        return [p["name"] for p in self.parameters if p["in"] == "query" and is_id(p["name"])]

    @property
    def schema(self) -> Json:
        """The body's; empty when it takes none."""
        for content in self.content.values():
            schema: Json = content["schema"]
            return schema
        return {}

    @property
    def body_ids(self) -> list["Place"]:
        return list(id_places(self.document, self.schema))

    def url(self, ids: Ids) -> str:
        values = {p["name"]: self._path_value(p, ids) for p in self.parameters if p["in"] == "path"}
        return self.path.format(**values)

    def _path_value(self, parameter: Json, ids: Ids) -> Any:
        if parameter["name"] in ids:
            return ids[parameter["name"]]
        return sample(self.document, parameter["schema"], parameter["name"])

    def queries(self) -> Json:
        required = [p for p in self.parameters if p["in"] == "query" and p.get("required")]
        return {p["name"]: sample(self.document, p["schema"], p["name"]) for p in required}

    def bodies(self, ids: Ids) -> list[Any]:
        """Bodies that may be valid, their ids from ``ids``: by example, the least, the least of each kind."""
        if not self.schema:
            return [None]
        least = sample(self.document, without_examples(self.document, self.schema))
        return [
            with_ids(body, ids)
            for body in (
                sample(self.document, self.schema),
                least,
                *_kinds(self.document, self.schema, least),
            )
        ]

    def send(
        self, client: TestClient, headers: Mapping[str, str], ids: Ids, body: Any = None, **query: Any
    ) -> httpx.Response:
        sent: Json = {"params": self.queries() | query, "headers": dict(headers)}
        if MULTIPART in self.content:
            sent |= _multipart(self.document, self.schema, body)
        elif body is not None:
            sent["json"] = body
        answer: httpx.Response = client.request(self.method, self.url(ids), **sent)
        return answer


Place = tuple[str | int, ...]  # where in a body: ("items", 0, "vehicle_id")


def operations(document: Json) -> list[Operation]:
    return [
        Operation(
            document,
            method,
            path,
            [resolve(document, p) for p in [*item.get("parameters", []), *operation.get("parameters", [])]],
            operation.get("requestBody", {}).get("content", {}),
            bool(operation.get("security", document.get("security"))),
        )
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]


def is_id(name: str | int) -> bool:
    return isinstance(name, str) and (name.endswith(("_id", "_ids")) or name in {"id", "ids"})


def resolve(document: Json, schema: Json) -> Json:
    """Without references, and of alternatives the first that is not null."""
    if "$ref" in schema:
        found = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return resolve(document, found)
    for choice in ("anyOf", "oneOf", "allOf"):
        for one in schema.get(choice, []):
            if one.get("type") != "null":
                return resolve(document, one) | {k: v for k, v in schema.items() if k != choice}
    return schema


def without_examples(document: Json, schema: Json) -> Json:
    return {k: v for k, v in resolve(document, schema).items() if k not in {"example", "examples"}}


def sample(document: Json, schema: Json, name: str = "") -> Any:
    """A value that this schema takes: its example, or the least."""
    schema = resolve(document, schema)
    if name == "email" or schema.get("format") == "idn-email":
        return f"walker{next(_numbers)}@example.com"
    for key in ("const", "example"):
        if key in schema:
            return schema[key]
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    match schema.get("type"):
        case "object":
            return _sample_object(document, schema)
        case "array":
            return [sample(document, schema["items"], name) for _ in range(schema.get("minItems", 1))]
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return False
        case "string":
            return _sample_text(schema)
    return None


def _sample_object(document: Json, schema: Json) -> Json:
    required = schema.get("required", [])
    return {
        name: sample(document, one, name) for name, one in _properties(schema).items() if name in required
    }


def _sample_text(schema: Json) -> Any:
    formats = {
        "date-time": "2026-03-01T12:00:00Z",
        "date": "2026-03-01",
        "uuid": "00000000-0000-4000-8000-000000000000",
        "binary": "bytes",
    }
    shortest = max(10, schema.get("minLength", 0))
    return formats.get(schema.get("format", ""), "w" * min(shortest, schema.get("maxLength", shortest)))


def _properties(schema: Json) -> Mapping[str, Json]:
    found: Mapping[str, Json] = schema.get("properties", {})
    return found


def _kinds(document: Json, schema: Json, least: Any) -> Iterator[Any]:
    """The least body with each word that a required field takes: what is valid may hang on it."""
    if not isinstance(least, dict):
        return
    for name, one in _properties(resolve(document, schema)).items():
        if name in least:
            for word in resolve(document, one).get("enum", []):
                yield least | {name: word}


def id_places(document: Json, schema: Json, at: Place = ()) -> Iterator[Place]:
    """Every id that a body may hold, however deep."""
    schema = resolve(document, schema)
    if schema.get("type") == "array":
        yield from id_places(document, schema["items"], (*at, 0))
        if at and is_id(at[-1]):
            yield (*at, 0)
        return
    for name, one in _properties(schema).items():
        inner = resolve(document, one)
        if is_id(name) and inner.get("type") != "array":
            yield (*at, name)
        elif inner.get("type") in {"object", "array"}:
            yield from id_places(document, inner, (*at, name))


def id_name(place: Place) -> str:
    """``vehicle_id`` for ("vehicle_ids", 0) too."""
    name = next(part for part in reversed(place) if isinstance(part, str))
    return name.removesuffix("s") if name.endswith("_ids") else name


def put(document: Json, schema: Json, body: Any, place: Place, value: Any) -> Any:
    """The body with ``value`` at ``place``; what stands around it is made where it is missing."""
    if not place:
        return value
    step, *rest = place
    schema = resolve(document, schema)
    inner = schema["items"] if isinstance(step, int) else _properties(schema)[step]
    if isinstance(step, int):
        present = list(body) if body else [sample(document, inner)]
        return [put(document, inner, present[0], tuple(rest), value), *present[1:]]
    around = dict(body or {})
    start = around.get(step) or (sample(document, inner, step) if rest else None)
    return around | {step: put(document, inner, start, tuple(rest), value)}


def with_ids(body: Any, ids: Ids) -> Any:
    """The body with every id in it that has a name in ``ids`` from there."""
    if isinstance(body, list):
        return [with_ids(one, ids) for one in body]
    if not isinstance(body, dict):
        return body
    return {name: _with_id(name, value, ids) for name, value in body.items()}


def _with_id(name: str, value: Any, ids: Ids) -> Any:
    if name in ids and value is not None:
        return ids[name]
    if name.endswith("_ids") and name.removesuffix("s") in ids:
        return [ids[name.removesuffix("s")]]
    return with_ids(value, ids)


def _multipart(document: Json, schema: Json, body: Json | None) -> Json:
    fields, files = {}, {}
    for name, value in (body or {}).items():
        one = resolve(document, _properties(resolve(document, schema))[name])
        kind = resolve(document, one.get("items", one)) if one.get("type") == "array" else one
        if kind.get("format") == "binary" or "contentMediaType" in kind:
            files[name] = ("walk.bin", b"bytes")
        else:
            fields[name] = value if isinstance(value, str) else json.dumps(value)
    return {"data": fields, "files": files}


def missing(value: Any) -> Any:
    """An id of the same form that nothing has."""
    if isinstance(value, int):
        return 2_000_000_000
    return re.sub(r"[0-9a-f]", "0", value) if re.fullmatch(r"[0-9a-f-]{36}", value) else "z" * len(value)


def find_ids(client: TestClient, document: Json, headers: Mapping[str, str]) -> dict[str, Any]:
    """One id of every name that stands in a path: the first of its list, made if the list is empty."""
    by_name = {operation.name: operation for operation in operations(document)}
    found: dict[str, Any] = {}
    for operation in sorted(by_name.values(), key=lambda one: len(one.path_ids)):
        for name in operation.path_ids:
            if name not in found:
                collection = operation.path.partition(f"{{{name}}}")[0]
                found[name] = _first_id(client, by_name, collection, headers, found)
    return found


def _first_id(
    client: TestClient,
    by_name: Mapping[str, Operation],
    collection: str,
    headers: Mapping[str, str],
    ids: Ids,
) -> Any:
    answer = by_name[f"GET {collection}"].send(client, headers, ids)
    assert answer.status_code == 200, f"{collection}: {answer.text}"
    if items := answer.json()["items"]:
        return items[0]["id"]
    making = by_name[f"POST {collection}"]
    for body in making.bodies(ids):
        made = making.send(client, headers, ids, body)
        if made.status_code == 201:
            return made.json()["id"]
    raise AssertionError(f"the walk needs a row of {collection}, and none could be made: {made.text}")


def comparable(answer: httpx.Response) -> tuple[int, str | None, Any]:
    """What a client can tell two answers apart by, save for what differs between any two."""
    content_type = answer.headers.get("content-type")
    if content_type is None or "json" not in content_type:
        return answer.status_code, content_type, answer.content
    body = answer.json()
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name not in VARYING}
    return answer.status_code, content_type, json.dumps(body)


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a JSON document with its name."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, name)
    else:
        yield name, value


def texts(answer: httpx.Response) -> set[tuple[str, Any]]:
    """The values of any answer; of one that is not JSON the words."""
    if "json" in answer.headers.get("content-type", ""):
        return set(leaves(answer.json()))
    return {("", word) for word in re.split(r"[\s,;<>\"=]+", answer.text)}
