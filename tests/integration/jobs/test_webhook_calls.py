"""One call: signed, bounded in time, to the address that was checked and to no other."""

import hashlib
import hmac
import logging
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

import pytest
import trustme

from core.notifications.attempts import AttemptOutcome
from core.notifications.claims import Claimed
from jobs.sender.webhooks.caller import Caller, body_of, headers_of
from tests.support.servers.receivers import HttpReceiver, http_receiver, status
from tests.support.waiting import wait_until

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LOOPBACK = (ip_network("127.0.0.0/8"),)
CLAIMED = Claimed(
    sequence=7,
    number=2,
    company_id=1,
    event="late",
    event_id=uuid.UUID(int=5),
    audience="webhook",
    recipient=None,
    webhook_id=3,
    payload={"occurred_at": "2026-03-01T12:00:00Z", "late_minutes": 5},
    created_at=NOW,
)


NAME_REFUSED = AttemptOutcome(error="its name was not found, or leads to a private address")


def always(value: Any) -> Callable[..., Any]:
    return lambda *_: value


@pytest.fixture(name="receiver")
def _receiver() -> Iterator[HttpReceiver]:
    with http_receiver() as receiver:
        yield receiver


def test_a_call_says_what_happened_and_can_be_verified(receiver: HttpReceiver) -> None:
    body = body_of(CLAIMED, "acme")
    headers = headers_of(CLAIMED, body, ["new", "old"], NOW)
    outcome = Caller(LOOPBACK).post(receiver.url("/hook?k=v"), body, headers)
    assert (outcome.code, outcome.error) == (204, None)
    (call,) = receiver.calls
    assert call.path == "/hook?k=v"
    assert call.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert call.headers["content-type"] == "application/json"
    assert call.headers["milepost-event-id"] == str(CLAIMED.event_id)
    assert (call.headers["milepost-event-type"], call.headers["milepost-attempt"]) == ("late", "2")
    assert call.json == {
        "id": str(CLAIMED.event_id),
        "type": "late",
        "sequence": 7,
        "occurred_at": "2026-03-01T12:00:00Z",
        "company": "acme",
        "data": {"late_minutes": 5},
    }
    at, new, old = call.headers["milepost-signature"].split(",")
    assert at == f"t={int(NOW.timestamp())}"
    signed = f"{int(NOW.timestamp())}.".encode() + call.body
    assert [new, old] == [
        f"v1={hmac.new(key, signed, hashlib.sha256).hexdigest()}" for key in (b"new", b"old")
    ]


@pytest.mark.parametrize("code", [400, 404, 410, 500, 503])
def test_any_other_status_is_a_failure(receiver: HttpReceiver, code: int) -> None:
    receiver.answer = lambda _: status(code)
    outcome = Caller(LOOPBACK).post(receiver.url(), b"{}", {})
    assert (outcome.code, outcome.error) == (code, f"HTTP status {code}")


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(receiver: HttpReceiver, code: int) -> None:
    with http_receiver() as elsewhere:
        receiver.answer = lambda _: status(code, f"Location: {elsewhere.url()}")
        outcome = Caller(LOOPBACK).post(receiver.url(), b"{}", {})
    assert (outcome.code, outcome.error) == (code, f"HTTP status {code}: redirects are not followed")
    assert elsewhere.connections == 0


@pytest.mark.parametrize("kind", ["hang", "drip"])
def test_a_receiver_that_hangs_or_drips_is_left(receiver: HttpReceiver, kind: str) -> None:
    receiver.answer = lambda _: kind
    began = time.monotonic()
    outcome = Caller(LOOPBACK, total_s=0.4).post(receiver.url(), b"{}", {})
    assert outcome.error is not None
    assert outcome.error.startswith("timed out")
    assert time.monotonic() - began < 5  # the drip alone would take ten minutes


def test_what_is_no_http_or_endless_is_a_failure(receiver: HttpReceiver) -> None:
    caller = Caller(LOOPBACK, total_s=5)
    for content in (b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000, b""):
        receiver.answer = always(content)
        outcome = caller.post(receiver.url(), b"{}", {})
        assert outcome.error is not None
        assert outcome.code is None


def test_an_answers_body_is_not_read(receiver: HttpReceiver) -> None:
    receiver.answer = lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\nxxx"
    outcome = Caller(LOOPBACK, total_s=5).post(receiver.url(), b"{}", {})
    assert (outcome.code, outcome.error) == (200, None)


def test_private_addresses_are_not_connected_to(receiver: HttpReceiver) -> None:
    for resolved in (["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::ffff:127.0.0.1"], []):
        caller = Caller((), resolve=always(resolved))
        outcome = caller.post(receiver.url(host="public.example.com", scheme="https"), b"{}", {})
        assert outcome == NAME_REFUSED
    outcome = Caller(()).post(receiver.url(host="localhost", scheme="https"), b"{}", {})
    assert outcome == NAME_REFUSED
    assert receiver.connections == 0


def test_an_unknown_name_has_the_answer_of_a_private_one(caplog: pytest.LogCaptureFixture) -> None:
    """Else a tenant could ask our name server for the names of our own network."""
    caplog.set_level(logging.INFO)

    def refusing(error: OSError) -> Callable[[str, int], list[str]]:
        def resolve(_host: str, _port: int) -> list[str]:
            raise error

        return resolve

    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    away = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    for resolve in (refusing(unknown), refusing(away), always(["10.1.2.3"]), always([])):
        assert Caller((), resolve=resolve).post("https://db.corp.example/", b"", {}) == NAME_REFUSED
    for detail in ("Name or service not known", "Temporary failure", "private: 10.1.2.3", "no address"):
        assert detail in caplog.text


def test_http_is_refused_where_the_operator_allowed_nothing(receiver: HttpReceiver) -> None:
    caller = Caller(LOOPBACK, resolve=lambda *_: ["93.184.216.34"])
    outcome = caller.post("http://public.example.com/", b"{}", {})
    assert outcome.error == "http:// is only for networks that the operator allowed: use https://"


def test_a_name_is_looked_up_once_and_its_address_connected_to(receiver: HttpReceiver) -> None:
    """An attacker's name server gives an allowed address for the check, and another for the connection."""
    asked: list[str] = []

    def rebinding(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    with http_receiver(host="127.0.0.2") as trap:
        outcome = Caller(LOOPBACK, resolve=rebinding).post(receiver.url(host="rebinding.test"), b"{}", {})
        assert trap.connections == 0
    assert (outcome.code, asked) == (204, ["rebinding.test"])
    assert receiver.calls[0].headers["host"] == f"rebinding.test:{receiver.port}"


def test_the_name_not_the_address_is_what_tls_checks() -> None:
    authority = trustme.CA()
    server, client = (
        ssl.create_default_context(purpose) for purpose in (ssl.Purpose.CLIENT_AUTH, ssl.Purpose.SERVER_AUTH)
    )
    authority.issue_cert("shop.example.com").configure_cert(server)
    authority.configure_trust(client)
    with http_receiver(tls=server) as receiver:
        caller = Caller(LOOPBACK, resolve=lambda *_: ["127.0.0.1"], tls=client)
        right = caller.post(receiver.url(host="shop.example.com", scheme="https"), b"{}", {})
        wrong = caller.post(receiver.url(host="else.example.com", scheme="https"), b"{}", {})
    assert (right.code, right.error) == (204, None)
    assert wrong.code is None
    assert "no connection" in (wrong.error or "")
    assert len(receiver.calls) == 1


def test_a_name_server_that_does_not_answer_is_left() -> None:
    def endless(_host: str, _port: int) -> list[str]:
        time.sleep(20)
        return []

    outcome = Caller(LOOPBACK, total_s=0.3, resolve=endless).post("https://slow.example.com/", b"", {})
    assert outcome == NAME_REFUSED


def test_proxies_of_the_environment_are_not_used(
    receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert Caller(LOOPBACK).post(receiver.url(), b"{}", {}).code == 204


def test_calls_under_way_can_be_ended(receiver: HttpReceiver) -> None:
    receiver.answer = lambda _: "hang"
    caller, outcomes = Caller(LOOPBACK, total_s=30), []
    thread = threading.Thread(target=lambda: outcomes.append(caller.post(receiver.url(), b"{}", {})))
    thread.start()
    wait_until(lambda: receiver.calls, what="the call")
    caller.cut_all()
    thread.join(5)
    assert outcomes[0].error is not None
