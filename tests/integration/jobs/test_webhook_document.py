"""The calls of the real sender against the `webhooks` of the OpenAPI document."""

from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from core.notifications.kinds import Event
from jobs.sender import loop
from jobs.sender.webhooks.caller import Caller
from tests.support.api_client import document
from tests.support.notifications.every_notification import queue_all
from tests.support.servers.receivers import Call, http_receiver
from tests.support.services.settings import make_settings
from tests.support.waiting import wait_until

LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.fixture
def calls(session: Session, sessions: sessionmaker[Session], database_url: str) -> Iterator[list[Call]]:
    """One call per event, as a receiver got them."""
    with http_receiver() as receiver:
        queue_all(session, receiver.url(), datetime.now(UTC))
        with loop.running(sessions, make_settings(database_url), Caller(LOOPBACK)):
            wait_until(lambda: len(receiver.calls) == len(Event), what="a call per event")
        yield receiver.calls


def test_each_call_is_as_the_document_says(calls: list[Call]) -> None:
    assert sorted(call.json["type"] for call in calls) == sorted(document()["webhooks"]) == sorted(Event)
    for call in calls:
        operation = document()["webhooks"][call.json["type"]]["post"]
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        require_valid(body, call.json)
        assert list(undeclared(body, call.json)) == []
        for header in operation["parameters"]:
            given = call.headers[header["name"].lower()]
            require_valid(header["schema"], int(given) if given.isdecimal() else given)
        ours = {name for name in call.headers if name.startswith("milepost-")}
        assert ours == {header["name"].lower() for header in operation["parameters"]}


def test_a_body_has_the_stored_facts_byte_for_byte(session: Session, calls: list[Call]) -> None:
    for call in calls:
        row = session.execute(
            text("SELECT * FROM notification WHERE id = :id"), {"id": call.json["sequence"]}
        ).one()
        facts = dict(row.payload)
        expected = {
            "id": str(row.event_id),
            "type": row.event,
            "sequence": row.id,
            "occurred_at": facts.pop("occurred_at"),
            "company": "acme",
            "data": facts,
        }
        assert call.body == msgspec.json.encode(expected)


def test_a_call_that_the_document_does_not_allow_is_noticed() -> None:
    body = document()["webhooks"]["test"]["post"]["requestBody"]["content"]["application/json"]
    schema, call = body["schema"], body["example"]
    require_valid(schema, call)
    with pytest.raises(jsonschema_rs.ValidationError):
        require_valid(schema, call | {"occurred_at": "yesterday"})
    assert list(undeclared(schema, call | {"data": {"more": 1}})) == ["data.more"]


def require_valid(schema: dict[str, Any], value: Any) -> None:
    whole = {**schema, "components": document()["components"]}
    jsonschema_rs.validate(whole, value, validate_formats=True)


def undeclared(schema: dict[str, Any], value: Any, path: str = "") -> Iterator[str]:
    """The fields of a value that its schema does not name, for receivers could not know them."""
    if "$ref" in schema:
        schema = document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if not isinstance(value, dict):
        return
    for name, inner in value.items():
        if name not in schema["properties"]:
            yield f"{path}{name}"
        else:
            yield from undeclared(schema["properties"][name], inner, f"{path}{name}.")
