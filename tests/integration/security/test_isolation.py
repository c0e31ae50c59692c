"""One company never sees another (A10): every operation of the OpenAPI document, walked with foreign ids.

With scoped queries and row-level security, then with the latter alone: the conditions in `core` are made to
let everything pass, and PostgreSQL's row-level security still gives nothing.
A control takes that away too, and finds everything.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import httpx
import pytest
from sqlalchemy import text, true
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from api.auth import scopes
from core.access import actors, scoping
from core.accounts.api_tokens import Scope
from core.database import row_security
from core.deliveries import watched
from core.errors import NotFound
from core.models.company import Company
from core.models.people import AppUser
from core.rules.enums import Role, Status
from core.settings import Settings
from tests.support import factories
from tests.support.api_client import House, bearer, document, furnish
from tests.support.openapi import walk
from tests.support.openapi.walk import Operation
from tests.support.sessions import another_session

OWNED = """
SELECT c.table_name, c.column_name FROM information_schema.columns c
WHERE c.table_schema = 'public' AND (c.column_name = 'company_id'
   OR (c.table_name, c.column_name) = ('company', 'id')) ORDER BY 1
"""
CHECKSUM = """
SELECT '{0}', count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM "{0}" t WHERE {1} = :company
"""
COUNT_FIXES = """
SELECT 'position', count(*), NULL FROM position
WHERE vehicle_id IN (SELECT id FROM vehicle WHERE company_id = :company)
"""
ROLES = [role.value for role in Role]
TOKEN = "api token"  # an integration with every scope
WRITERS = ["manager", TOKEN]
SHORTEST = 6  # characters of a text that no other contains by chance


@dataclass
class Walk:
    """Our company walks with the ids of another, the stranger's, which must not notice."""

    client: TestClient
    session: Session
    settings: Settings
    house: House
    stranger: House
    token: str
    own: dict[str, Any] = field(default_factory=dict)
    foreign: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.document = document()
        self.owned = self.session.execute(text(OWNED)).all()
        # One statement for all tables: each walk reads them before and after many requests.
        self.checksums = " UNION ALL ".join([*(CHECKSUM.format(*one) for one in self.owned), COUNT_FIXES])
        self.operations = walk.operations(self.document)
        self.own = walk.find_ids(self.client, self.document, self.headers(self.house.manager))
        self.foreign = walk.find_ids(self.client, self.document, self.headers(self.stranger.manager))
        assert not self.own.items() & self.foreign.items()
        self.absent = {name: walk.missing(value) for name, value in self.foreign.items()}
        self.secrets = self._texts(self.stranger.company) - self._texts(self.house.company)

    def headers(self, user: AppUser) -> dict[str, str]:
        return bearer(self.settings, user)

    def as_role(self, role: str) -> dict[str, str]:
        if role == TOKEN:
            return {"Authorization": f"Bearer {self.token}"}
        return self.headers(getattr(self.house, role))

    def may(self, role: str, operation: Operation) -> bool:
        """API tokens take only the routes of one table; whether people may, the routes decide."""
        return role != TOKEN or (operation.method.upper(), operation.path) in scopes.NEEDED

    def of(self, name: str) -> tuple[Any, Any, Any]:
        """One id of ours, one of the stranger's, one of no row."""
        assert name in self.own, f"{name} stands in no path: no id of it is known"
        return self.own[name], self.foreign[name], self.absent[name]

    def rows(self) -> dict[str, Any]:
        """A checksum of everything that is the stranger's."""
        self.session.rollback()
        found = self.session.execute(text(self.checksums), {"company": self.stranger.company.id})
        return {table: (count, digest) for table, count, digest in found}

    def _texts(self, company: Company) -> set[str]:
        self.session.rollback()
        rows = [
            self.session.scalars(
                text(f'SELECT to_jsonb(t) FROM "{table}" t WHERE {column} = :company'),
                {"company": company.id},
            ).all()
            for table, column in self.owned
        ]
        return {value for _, value in walk.leaves(rows) if isinstance(value, str) and len(value) >= SHORTEST}

    def assert_silent(self, what: str, answer: httpx.Response) -> None:
        """It holds no text and no id of the stranger's."""
        for name, value in walk.texts(answer):
            assert value not in self.secrets, f"{what}: {name} = {value}"
            assert name not in self.foreign or value != self.foreign[name], f"{what}: {name} = {value}"


@pytest.fixture
def walker(client: TestClient, session: Session, settings: Settings) -> Walk:
    house, stranger = furnish(session, Status.IN_TRANSIT), furnish(session, Status.IN_TRANSIT)
    _, token = factories.api_token(session, house.company, *Scope)
    session.commit()
    return Walk(client, session, settings, house, stranger, token)


@pytest.fixture
def scoping_is_off(monkeypatch: pytest.MonkeyPatch, walker: Walk) -> None:
    """Wherever they were imported to, the conditions of `core` let everything pass."""
    let_pass = {
        id(actors.visible_deliveries): lambda *_: true(),
        id(scoping.is_ours): lambda *_: true(),
        id(actors.sees): lambda *_: True,
    }
    modules = [m for name, m in sys.modules.items() if name.partition(".")[0] in {"core", "api"}]
    for module in modules:
        for name, value in list(vars(module).items()):
            if id(value) in let_pass:
                monkeypatch.setattr(module, name, let_pass[id(value)])


@pytest.fixture
def row_security_is_off(monkeypatch: pytest.MonkeyPatch, walker: Walk) -> None:
    def leave(session: Session, _company_id: int) -> None:
        session.connection().exec_driver_sql("SELECT set_config('role', 'none', true)")

    monkeypatch.setattr(row_security, "enter", lambda *_: None)
    monkeypatch.setattr(row_security, "entered", leave)  # the user's own statement has entered already


def path_cases(walker: Walk, operation: Operation) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Ids of the stranger's rows, and the same with those of no row: each alone below our own, and all."""
    names = operation.path_ids
    for chosen in {*((name,) for name in names), tuple(names)}:
        yield (
            walker.own | {name: walker.foreign[name] for name in chosen},
            walker.own | {name: walker.absent[name] for name in chosen},
        )


def assert_paths_are_closed(walker: Walk, role: str) -> None:
    headers, before, walked = walker.as_role(role), walker.rows(), 0
    for operation in walker.operations:
        if not operation.path_ids:
            continue
        for (foreign, absent), ids_in_body in product(
            path_cases(walker, operation), (walker.own, walker.foreign)
        ):
            body = operation.bodies(ids_in_body)[0]
            answer = operation.send(walker.client, headers, foreign, body)
            refusal = 404 if walker.may(role, operation) else 403
            assert answer.status_code == refusal, f"{operation.name}: {answer.text}"
            absents = operation.send(walker.client, headers, absent, body)
            assert walk.comparable(answer) == walk.comparable(absents), operation.name
            walked += 1
    assert walked
    assert walker.rows() == before


def assert_lists_are_own(walker: Walk, role: str) -> None:
    """What is read with our own ids, or with none, or filtered by the stranger's."""
    headers = walker.as_role(role)
    for operation in walker.operations:
        if operation.method != "get" or operation.path == "/metrics":
            continue
        answer = operation.send(walker.client, headers, walker.own)
        walker.assert_silent(operation.name, answer)
        for name in operation.query_ids:
            if name not in walker.foreign:
                _assert_filter_is_silent(walker, operation, headers, name)
                continue
            _, foreign, absent = walker.of(name)
            filtered = operation.send(walker.client, headers, walker.own, **{name: foreign})
            absents = operation.send(walker.client, headers, walker.own, **{name: absent})
            assert walk.comparable(filtered) == walk.comparable(absents), f"{operation.name}?{name}"
            walker.assert_silent(operation.name, filtered)


def _assert_filter_is_silent(
    walker: Walk, operation: Operation, headers: Mapping[str, str], name: str
) -> None:
    """An id of no kind that stands in a path may be of any kind."""
    for foreign in walker.foreign.values():
        answer = operation.send(walker.client, headers, walker.own, **{name: foreign})
        walker.assert_silent(f"{operation.name}?{name}", answer)


def assert_bodies_are_refused(walker: Walk, role: str) -> None:
    """An id of the stranger's where one of ours would do is refused as that of no row is."""
    headers, taken, before = walker.as_role(role), 0, walker.rows()
    for operation in walker.operations:
        is_writer = role in WRITERS and walker.may(role, operation)
        for place in operation.body_ids if operation.is_secured else ():
            own, foreign, absent = walker.of(walk.id_name(place))
            what = f"{operation.name} {place}"
            for body in operation.bodies(walker.own):
                refused, absents = (
                    _send_at(walker, operation, headers, body, place, v) for v in (foreign, absent)
                )
                assert refused.status_code in {403, 404, 422}, f"{what}: {refused.text}"
                assert walk.comparable(refused) == walk.comparable(absents), what
                accepted = _send_at(walker, operation, headers, body, place, own)
                if accepted.status_code in {403, 404} and not is_writer:
                    break
                if accepted.status_code < 300 or accepted.status_code == 409:
                    assert refused.status_code != 403, what
                    taken += 1
                    break
            else:
                pytest.fail(f"{what}: not even our own id is taken: {accepted.text}")
            assert walker.rows() == before, what
    assert taken or role not in WRITERS


def _send_at(
    walker: Walk, operation: Operation, headers: Mapping[str, str], body: Any, place: walk.Place, value: Any
) -> httpx.Response:
    changed = walk.put(walker.document, operation.schema, body, place, value)
    return operation.send(walker.client, headers, walker.own, changed)


@pytest.mark.parametrize("role", [*ROLES, TOKEN])
def test_a_foreign_id_in_a_path_answers_as_a_missing_one(walker: Walk, role: str) -> None:
    assert_paths_are_closed(walker, role)


@pytest.mark.parametrize("role", [*ROLES, TOKEN])
def test_nothing_that_is_read_holds_anything_of_another_company(walker: Walk, role: str) -> None:
    assert_lists_are_own(walker, role)


@pytest.mark.parametrize("role", [*ROLES, TOKEN])
def test_a_foreign_id_in_a_body_is_refused_as_a_missing_one(walker: Walk, role: str) -> None:
    assert_bodies_are_refused(walker, role)


def test_the_walk_reaches_every_id_of_a_path(walker: Walk) -> None:
    """Whoever may use them finds them: the 404s are not those of a request that could never succeed."""
    assert names_found(walker, walker.stranger.manager) == set(walker.foreign)


@pytest.mark.usefixtures("scoping_is_off")
@pytest.mark.parametrize("role", ROLES)
def test_row_level_security_alone_closes_every_path(walker: Walk, role: str) -> None:
    assert_paths_are_closed(walker, role)


@pytest.mark.usefixtures("scoping_is_off")
@pytest.mark.parametrize("role", ROLES)
def test_row_level_security_alone_keeps_lists_to_the_own_company(walker: Walk, role: str) -> None:
    assert_lists_are_own(walker, role)


@pytest.mark.usefixtures("scoping_is_off")
@pytest.mark.parametrize("role", WRITERS)
def test_row_level_security_alone_refuses_foreign_ids_in_bodies(walker: Walk, role: str) -> None:
    assert_bodies_are_refused(walker, role)


@pytest.mark.usefixtures("scoping_is_off")
def test_row_level_security_alone_closes_the_websocket(walker: Walk) -> None:
    assert _watched(walker, walker.foreign["delivery_id"]) == ("websocket.close", 4404)
    assert _watched(walker, walker.own["delivery_id"])[0] == "websocket.send"


@pytest.mark.usefixtures("scoping_is_off")
def test_row_level_security_alone_hides_the_snapshot_of_a_watcher(walker: Walk) -> None:
    """Read after the socket was admitted, in a transaction of its own."""
    actor = factories.actor(walker.house.company, walker.house.manager)
    for last_checkpoint in (None, 0):
        with another_session(walker.session) as session, pytest.raises(NotFound):
            watched.snapshot(session, actor, walker.foreign["delivery_id"], last_checkpoint)


@pytest.mark.usefixtures("scoping_is_off", "row_security_is_off")
def test_without_scoping_and_policies_other_tenants_are_seen(walker: Walk) -> None:
    """The control: the conditions that were opened are all there are, and row-level security is what held."""
    assert names_found(walker, walker.house.manager) == set(walker.foreign)
    with pytest.raises(AssertionError, match=r"^GET /"):
        assert_lists_are_own(walker, "manager")
    with pytest.raises(AssertionError, match=r"^(POST|PUT|PATCH) /"):
        assert_bodies_are_refused(walker, "manager")
    with pytest.raises(AssertionError, match=r"^[A-Z]+ /.*{"):
        assert_paths_are_closed(walker, "manager")
    assert _watched(walker, walker.foreign["delivery_id"])[0] == "websocket.send"


def names_found(walker: Walk, user: AppUser) -> set[str]:
    """The names of those of the stranger's ids that this user reads, or where nothing is read, uses."""
    read = _names(walker, user, is_read=True)
    return read | (_names(walker, user, is_read=False) if read != set(walker.foreign) else set())


def _names(walker: Walk, user: AppUser, *, is_read: bool) -> set[str]:
    headers, found = walker.headers(user), set()
    for operation in walker.operations:
        if (operation.method == "get") is is_read and operation.path_ids:
            body = operation.bodies(walker.foreign)[0]
            if operation.send(walker.client, headers, walker.foreign, body).status_code < 300:
                found.update(operation.path_ids)
    return found


def _watched(walker: Walk, delivery_id: int) -> tuple[str, int | None]:
    path, headers = f"/ws/delivery/{delivery_id}/", walker.as_role("manager")
    with walker.client.websocket_connect(path, headers=headers) as socket:
        first = socket.receive()
        return first["type"], first.get("code")
