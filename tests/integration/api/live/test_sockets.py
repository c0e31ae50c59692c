"""Which clients may open a socket, for how long, what they may send; a slow one harms no other."""

import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from api.auth import tokens
from core.access.actors import sees, visible_deliveries
from core.deliveries import watched
from core.models.delivery import Delivery
from core.rules.enums import Role, Status
from core.settings import Settings
from tests.support import factories
from tests.support.servers.live_server import LiveServer, Publisher
from tests.support.waiting import wait_until
from tests.support.watched_company import WatchedCompany, house, publisher, server

__all__ = ["house", "publisher", "server"]


@pytest.fixture
def bad_tokens(server: LiveServer, house: WatchedCompany) -> dict[str, str]:
    long_ago = datetime.now(UTC) - timedelta(days=1)
    good = jwt.decode(server.token(house.customer), options={"verify_signature": False})
    key = server.settings.jwt_key.get_secret_value()
    return {
        "empty": "",
        "no token": "hello",
        "expired": server.token(house.customer, long_ago),
        "refresh": tokens.issue(
            server.settings, tokens.TokenKind.REFRESH, house.customer.id, 1, datetime.now(UTC)
        ),
        "not signed": jwt.encode(good, "", algorithm="none"),
        "another key": jwt.encode(good, "x" * 32, algorithm="HS256"),
        "another audience": jwt.encode(good | {"aud": "others"}, key, algorithm="HS256"),
        "no exp": jwt.encode({k: v for k, v in good.items() if k != "exp"}, key, algorithm="HS256"),
        "locked out": jwt.encode(good | {"epoch": 7}, key, algorithm="HS256"),
    }


def test_bad_token_in_the_header_is_answered_401_with_one_body(
    server: LiveServer, house: WatchedCompany, bad_tokens: dict[str, str]
) -> None:
    bodies = set()
    for token in bad_tokens.values():
        with pytest.raises(InvalidStatus) as refused, server.connect(house.delivery.id, header=token):
            pass
        response = refused.value.response
        assert response.status_code == 401
        assert response.headers["Content-Type"] == "application/problem+json"
        bodies.add(bytes(response.body or b""))
    assert len(bodies) == 1
    assert json.loads(bodies.pop())["error"] == "NotAuthenticated"


def test_bad_token_as_subprotocol_or_first_message_closes_4401(
    server: LiveServer, house: WatchedCompany, bad_tokens: dict[str, str]
) -> None:
    for name, token in bad_tokens.items():
        if token:
            with server.connect(house.delivery.id, subprotocols=["bearer", token]) as watcher:
                assert watcher.close_code() == 4401, name
        with server.connect(house.delivery.id) as watcher:
            watcher.say(json.dumps({"type": "auth", "token": token}))
            assert watcher.close_code() == 4401, name


def test_token_as_bearer_subprotocol_is_answered_bearer(server: LiveServer, house: WatchedCompany) -> None:
    token = server.token(house.customer)
    with server.connect(house.delivery.id, subprotocols=["bearer", token]) as watcher:
        assert watcher.client.subprotocol == "bearer"
        assert watcher.next()["type"] == "status_update"


def test_token_in_the_first_message_may_carry_the_last_checkpoint(
    server: LiveServer, house: WatchedCompany
) -> None:
    hello = {"type": "auth", "token": server.token(house.customer)}
    with server.connect(house.delivery.id) as watcher:
        watcher.say(json.dumps(hello))
        last = watcher.next()["checkpoint_id"]
    with server.connect(house.delivery.id) as watcher:
        watcher.say(json.dumps(hello | {"last_checkpoint_id": last}))
        assert watcher.until_answered() == []


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("", "JSON"),
        ("auth", "JSON"),
        ('{"type":"auth",', "JSON"),
        ("[" * 15_000, "JSON"),
        ("[]", "object"),
        ("null", "object"),
        ("{}", "type"),
        ('{"type":7}', "type"),
        ('{"type":"ping"}', "auth"),
        ('{"type":"subscribe"}', "auth"),
        ('{"type":"auth"}', "token is missing"),
        ('{"type":"auth","token":1}', "token must be a string"),
        ('{"type":"auth","token":null}', "token must be a string"),
        (b"\x00", "text"),
    ],
)
def test_malformed_first_message_closes_4400_with_a_reason(
    server: LiveServer, house: WatchedCompany, message: str | bytes, reason: str
) -> None:
    with server.connect(house.delivery.id) as watcher:
        watcher.say(message)
        assert watcher.close_code() == 4400
        assert reason in watcher.close_reason()


def test_auth_message_in_a_binary_frame_closes_4400(server: LiveServer, house: WatchedCompany) -> None:
    with server.connect(house.delivery.id) as watcher:
        watcher.say(json.dumps({"type": "auth", "token": server.token(house.customer)}).encode())
        assert watcher.close_code() == 4400
        assert "not binary" in watcher.close_reason()


@pytest.mark.parametrize("last", ["1953", True, 1.5, -1, 2**63, [], {}])
def test_malformed_checkpoint_beside_the_token_closes_4400(
    server: LiveServer, house: WatchedCompany, last: object
) -> None:
    hello = {"type": "auth", "token": server.token(house.customer), "last_checkpoint_id": last}
    with server.connect(house.delivery.id) as watcher:
        watcher.say(json.dumps(hello))
        assert watcher.close_code() == 4400
        assert "last_checkpoint_id" in watcher.close_reason()


def test_checkpoint_beside_the_token_may_be_written_as_a_float(
    server: LiveServer, house: WatchedCompany
) -> None:
    hello = {"type": "auth", "token": server.token(house.customer), "last_checkpoint_id": 0.0}
    with server.connect(house.delivery.id) as watcher:
        watcher.say(json.dumps(hello))
        assert watcher.next()["type"] == "status_update"


def test_silence_instead_of_a_token_closes_4401_after_5_s(server: LiveServer, house: WatchedCompany) -> None:
    with server.connect(house.delivery.id) as watcher:
        assert watcher.close_code(timeout=8) == 4401


def test_token_in_the_query_string_is_refused(server: LiveServer, house: WatchedCompany) -> None:
    token = server.token(house.customer)
    with server.connect(house.delivery.id, f"?token={token}", header=token) as watcher:
        assert watcher.close_code() == 4400


@pytest.mark.parametrize("last", ["-1", "x", "1e3", "99999999999999999999", ""])
def test_checkpoint_that_is_no_number_is_refused(
    server: LiveServer, house: WatchedCompany, last: str
) -> None:
    query = f"?last_checkpoint_id={last}"
    with server.connect(house.delivery.id, query, header=server.token(house.customer)) as watcher:
        assert watcher.close_code() == 4400
        assert "last_checkpoint_id" in watcher.close_reason()


def test_what_is_not_theirs_closes_4404_like_what_does_not_exist(
    server: LiveServer, session: Session, house: WatchedCompany
) -> None:
    strange = WatchedCompany(session)
    others = [
        strange.manager,
        strange.customer,
        factories.user(session, house.company, Role.CUSTOMER),
        factories.user(session, house.company, Role.DRIVER),
    ]
    session.commit()
    for user in others:
        with server.watch(user, house.delivery.id) as watcher:
            assert watcher.close_code() == 4404
    for missing in ("999999", "0", "-1", "abc", "9" * 30, "%F0%9F%9A%9A", "%D9%A3"):
        with server.connect(missing, header=server.token(house.manager)) as watcher:
            assert watcher.close_code() == 4404


def test_rights_read_from_a_row_are_those_of_the_query(session: Session, house: WatchedCompany) -> None:
    strange = WatchedCompany(session)
    people = [
        (it.company, user)
        for it in (house, strange)
        for user in (
            it.manager,
            it.customer,
            it.driver,
            factories.user(session, it.company, Role.OPERATOR),
            factories.user(session, it.company, Role.DRIVER),
        )
    ]
    house.add_delivery(Status.PENDING, driver_id=None, vehicle_id=None)
    ids = list(session.scalars(select(Delivery.id)))
    for company, user in people:
        actor = factories.actor(company, user)
        by_query = set(session.scalars(select(Delivery.id).where(visible_deliveries(actor))))
        by_row = {target.delivery for target in watched.targets(session, ids).values() if sees(actor, target)}
        assert by_row == by_query


def test_disabled_user_is_closed_within_5_s_and_gets_nothing_after(
    server: LiveServer, publisher: Publisher, house: WatchedCompany
) -> None:
    with (
        server.watch(house.customer, house.delivery.id) as disabled,
        server.watch(house.manager, house.delivery.id) as other,
    ):
        disabled.next()
        other.next()
        house.customer.disabled_at = datetime.now(UTC)
        house.session.commit()
        assert disabled.close_code(timeout=5) == 4401
        publisher.position(house.position(1, house.delivery.id))
        assert other.next()["type"] == "location_update"


def test_user_whose_tokens_were_revoked_is_closed(server: LiveServer, house: WatchedCompany) -> None:
    with server.watch(house.customer, house.delivery.id) as watcher:
        watcher.next()
        house.customer.token_epoch += 1
        house.session.commit()
        assert watcher.close_code(timeout=5) == 4401


def test_expired_token_closes_4401_within_5_s(server: LiveServer, house: WatchedCompany) -> None:
    minutes = timedelta(minutes=server.settings.access_token_minutes)
    token = server.token(house.customer, datetime.now(UTC) - minutes + timedelta(seconds=2))
    with server.connect(house.delivery.id, header=token) as watcher:
        assert watcher.next()["type"] == "status_update"
        assert watcher.close_code(timeout=6) == 4401


def test_delivery_given_to_another_customer_closes_4404(server: LiveServer, house: WatchedCompany) -> None:
    with server.watch(house.customer, house.delivery.id) as watcher:
        watcher.next()
        house.delivery.customer_id = factories.customer(house.session, house.company).id
        house.session.commit()
        assert watcher.close_code(timeout=5) == 4404


def test_what_we_do_not_understand_gets_an_error_and_the_socket_lives(
    server: LiveServer, house: WatchedCompany
) -> None:
    with server.watch(house.customer, house.delivery.id) as watcher:
        watcher.next()
        for message in ("", "{", "[]", "null", '{"type":7}', '{"type":"subscribe"}', "[" * 60_000, "\x00"):
            watcher.say(message)
            assert watcher.next() == {"type": "error", "error": "NotUnderstood"}
        watcher.say(b"\x00\xff")
        assert watcher.next() == {"type": "error", "error": "NotText"}
        watcher.say('{"type":"pong"}')
        assert watcher.until_answered() == []


def test_message_beyond_the_limit_closes_only_its_sender(server: LiveServer, house: WatchedCompany) -> None:
    with (
        server.watch(house.customer, house.delivery.id) as bomber,
        server.watch(house.customer, house.delivery.id) as other,
    ):
        bomber.next()
        other.next()
        bomber.say("x" * 100_000)
        assert bomber.close_code() == 1009
        assert other.until_answered() == []


def test_watchers_get_1001_when_the_process_stops(settings: Settings, house: WatchedCompany) -> None:
    server = LiveServer(settings)
    server.start()
    with server.watch(house.customer, house.delivery.id) as watcher:
        watcher.next()
        started = time.monotonic()
        server.stop()
        assert watcher.close_code() == 1001
        assert time.monotonic() - started < 4


@pytest.fixture
def deaf(server: LiveServer, house: WatchedCompany) -> Iterator[socket.socket]:
    """A client that watches and never reads, with as small a window as the kernel allows."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.connect(("127.0.0.1", server.port))
    with connect(
        server.url(house.delivery.id),
        additional_headers={"Authorization": f"Bearer {server.token(house.customer)}"},
        sock=sock,
        compression=None,
        max_queue=1,
        close_timeout=0.1,
        proxy=None,
    ) as client:
        client.recv(5)
        yield sock


def test_client_that_never_reads_is_closed_and_others_get_everything(
    server: LiveServer, publisher: Publisher, house: WatchedCompany, deaf: socket.socket
) -> None:
    metrics = server.live.metrics
    with server.watch(house.manager, house.delivery.id) as watcher:
        watcher.next()
        assert metrics.sockets._value.get() == 2
        second, deadline = 0, time.monotonic() + 60
        while metrics.sockets._value.get() == 2 and time.monotonic() < deadline:
            for _ in range(50):
                second += 1
                fact = house.position(second, house.delivery.id)
                publisher.position(fact)
            while watcher.next()["fix_time"] != f"{fact.fix_time:%Y-%m-%dT%H:%M:%SZ}":
                pass
        assert metrics.sockets._value.get() == 1, "the deaf client is still there"
        assert metrics.conflated._value.get() > 0
        assert server.call(lambda: metrics.closed.labels(4408)._value.get()) == 1
        wait_until(lambda: server.connections() == 1, what="its connection to be cut")
        publisher.position(house.position(second + 1, house.delivery.id))
        assert watcher.next()["type"] == "location_update"
