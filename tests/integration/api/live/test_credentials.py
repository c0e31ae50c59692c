"""Sockets end with what opened them: a log-in, or an integration's API token."""

from datetime import UTC, datetime, timedelta

import httpx
from sqlalchemy.orm import Session

from core.accounts.api_tokens import Scope
from tests.support import factories
from tests.support.servers.live_server import LiveServer
from tests.support.watched_company import WatchedCompany, house, server

__all__ = ["house", "server"]


def test_socket_closes_when_its_log_in_ends(server: LiveServer, house: WatchedCompany) -> None:
    url = f"http://127.0.0.1:{server.port}/auth"
    form = {"username": house.customer.email, "password": factories.PASSWORD}
    here, there = (httpx.post(f"{url}/token", data=form).json()["access_token"] for _ in range(2))
    with (
        server.connect(house.delivery.id, header=here) as ending,
        server.connect(house.delivery.id, header=there) as staying,
    ):
        assert ending.next()["type"] == staying.next()["type"] == "status_update"
        answer = httpx.post(f"{url}/logout", headers={"Authorization": f"Bearer {here}"})
        assert answer.status_code == 204
        assert ending.close_code(timeout=5) == 4401
        assert staying.until_answered() == []


def test_integration_watches_until_its_token_is_revoked(
    server: LiveServer, house: WatchedCompany, session: Session
) -> None:
    row, token = factories.api_token(session, house.company, Scope.DELIVERIES_READ)
    session.commit()
    with server.connect(house.delivery.id, subprotocols=["bearer", token]) as watcher:
        assert watcher.next()["type"] == "status_update"
        session.refresh(row)
        assert row.last_used_at is not None
        row.revoked_at = datetime.now(UTC)
        session.commit()
        assert watcher.close_code(timeout=5) == 4401


def test_integration_without_the_scope_is_closed_4403(
    server: LiveServer, house: WatchedCompany, session: Session
) -> None:
    _, token = factories.api_token(session, house.company, Scope.FLEET_READ)
    session.commit()
    with server.connect(house.delivery.id, header=token) as watcher:
        assert watcher.close_code() == 4403


def test_socket_of_an_integration_closes_when_its_token_expires(
    server: LiveServer, house: WatchedCompany, session: Session
) -> None:
    end = datetime.now(UTC) + timedelta(seconds=1.5)
    _, token = factories.api_token(session, house.company, Scope.DELIVERIES_READ, expires_at=end)
    session.commit()
    with server.connect(house.delivery.id, header=token) as watcher:
        assert watcher.next()["type"] == "status_update"
        assert watcher.close_code(timeout=5) == 4401


def test_integration_sees_no_other_companys_delivery(
    server: LiveServer, house: WatchedCompany, session: Session
) -> None:
    _, token = factories.api_token(session, factories.company(session), Scope.DELIVERIES_READ)
    session.commit()
    with server.connect(house.delivery.id, header=token) as watcher:
        assert watcher.close_code() == 4404
