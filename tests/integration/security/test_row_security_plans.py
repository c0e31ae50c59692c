"""Row-level security costs no index: the API's statements are planned alike with and without it.

Those that SQLAlchemy sends, and the prepared ones: what else `positions.store` sends for batches is not seen.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from core.database import row_security
from core.database.prepared import Named
from core.models.company import Company
from core.rules.enums import Status
from core.settings import Settings
from tests.support.api_client import House, bearer, furnish
from tests.support.openapi import walk

COMPANIES, DELIVERIES, CHECKPOINTS = 20, 1_000, 3  # of each company, of each delivery
FILL = f"""
INSERT INTO delivery (company_id, reference, status, customer_id, driver_id, vehicle_id,
                      pickup_address, dropoff_address, started_at)
SELECT d.company_id, 'R-' || i, 'delivered', d.customer_id, d.driver_id, d.vehicle_id,
       'Street ' || i, 'Road ' || i, now()
FROM delivery d, generate_series(1, {DELIVERIES}) i;
INSERT INTO delivery_checkpoint (company_id, delivery_id, kind, status, occurred_at, recorded_at)
SELECT company_id, id, 'status', status, now(), now() FROM delivery, generate_series(1, {CHECKPOINTS});
INSERT INTO delivery_proof (company_id, delivery_id, recipient_name, occurred_at, recorded_at)
SELECT company_id, id, 'R', now(), now() FROM delivery;
INSERT INTO quarantine (company_id, topic, raw, reason, detail, received_at)
SELECT company_id, 't', 'r', 'bad_time', '', now() FROM delivery;
INSERT INTO vehicle (company_id, name) SELECT company_id, 'Van' FROM delivery;
INSERT INTO customer (company_id, name) SELECT company_id, 'C' FROM delivery;
INSERT INTO driver (company_id, name) SELECT company_id, 'D' FROM delivery;
INSERT INTO position (vehicle_id, fix_time, latitude, longitude, received_at, suspect)
SELECT vehicle_id, now() - id * interval '1 s', 52, 13, now(), false FROM delivery;
"""
PLANNED = ("SELECT", "UPDATE", "WITH")
Statement = tuple[str, Any]


@pytest.fixture
def house(session: Session) -> House:
    """One company among others as large."""
    house = furnish(session, Status.IN_TRANSIT)
    others: list[Company] = [furnish(session, Status.IN_TRANSIT).company for _ in range(COMPANIES - 1)]
    assert len({house.company.id, *(company.id for company in others)}) == COMPANIES
    session.execute(text(FILL))
    session.commit()
    session.connection(execution_options={"isolation_level": "AUTOCOMMIT"}).execute(text("VACUUM ANALYZE"))
    session.commit()
    return house


@contextmanager
def statements() -> Iterator[list[Statement]]:
    """Collect the statements that any engine executes under row-level security meanwhile."""
    seen: list[Statement] = []

    def note(connection: Connection, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if "set_config('role'" in statement:
            connection.info["is_inside"] = f"'{row_security.ROLE}'" in statement
        elif connection.info.get("is_inside") and statement.lstrip().startswith(PLANNED):
            seen.append((statement, parameters))

    def unmark(connection: Connection) -> None:
        connection.info["is_inside"] = False

    entered = row_security.entered

    def note_entered(session: Session, company_id: int) -> None:
        """The statement that resolves a user enters as well: it is prepared, so `note` does not see it."""
        entered(session, company_id)
        session.connection().info["is_inside"] = True

    call = Named.call

    def note_prepared(named: Named, cursor: Any, values: Any) -> str:
        if not named.name.startswith("actor") and named.source.lstrip().startswith(PLANNED):
            seen.append((named.source, values if isinstance(values, Mapping) else tuple(values)))
        return call(named, cursor, values)

    listeners: dict[str, Callable[..., Any]] = {
        "before_cursor_execute": note,
        "commit": unmark,
        "rollback": unmark,
    }
    for name, listener in listeners.items():
        event.listen(Engine, name, listener)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Named, "call", note_prepared)
            patch.setattr(row_security, "entered", note_entered)
            yield seen
    finally:
        for name, listener in listeners.items():
            event.remove(Engine, name, listener)


def plan(session: Session, statement: Statement) -> dict[str, Any]:
    sql, parameters = statement
    found = session.connection().exec_driver_sql(f"EXPLAIN (FORMAT JSON) {sql}", parameters).scalar_one()
    rows: list[dict[str, Any]] = json.loads(found) if isinstance(found, str) else found
    root: dict[str, Any] = rows[0]["Plan"]
    return root


def sequential(node: Mapping[str, Any]) -> set[str]:
    """The tables that a plan reads from end to end."""
    found = {node["Relation Name"]} if node["Node Type"] == "Seq Scan" else set()
    return found.union(*(sequential(inner) for inner in node.get("Plans", [])))


def use_everything(client: TestClient, settings: Settings, house: House) -> None:
    """Every read, each with each of its filters; a location; a status change."""
    headers = bearer(settings, house.manager)
    document = client.get("/openapi.json").json()
    ids = walk.find_ids(client, document, headers) | {
        "delivery_id": house.delivery.id,
        "proof_id": house.proof.id,
        "day": datetime.now(UTC).date().isoformat(),
    }
    for operation in walk.operations(document):
        if operation.method != "get":
            continue
        answers = [operation.send(client, headers, ids)]
        for parameter in operation.parameters:
            if parameter["in"] == "query":
                name = parameter["name"]
                value = ids.get(name, walk.sample(document, parameter["schema"], name))
                answers.append(operation.send(client, headers, ids, **{name: value}))
        assert any(answer.status_code == 200 for answer in answers), operation.name
    path = f"/deliveries/{house.delivery.id}"
    fix = {"latitude": 52.5, "longitude": 13.3}
    assert client.post(f"{path}/location/", json=fix, headers=headers).status_code == 201
    assert client.post(f"{path}/status/", json={"status": "delivered"}, headers=headers).status_code == 200


def test_row_level_security_worsens_no_plan_of_the_api(
    client: TestClient, house: House, settings: Settings, sessions: sessionmaker[Session]
) -> None:
    with statements() as seen:
        use_everything(client, settings, house)
    different = {sql: (sql, parameters) for sql, parameters in seen if "stage" not in sql}
    assert {"delivery", "vehicle", "position"} <= {
        name
        for name in ("delivery", "vehicle", "position")
        if any(f"FROM {name}" in sql for sql in different)
    }
    with sessions() as outside, sessions() as inside:
        row_security.enter(inside, house.company.id)
        for statement in different.values():
            fenced, open_ = plan(inside, statement), plan(outside, statement)
            assert sequential(fenced) <= sequential(open_), statement[0]
            assert fenced["Total Cost"] <= 1.5 * open_["Total Cost"] + 5, (
                f"{fenced['Total Cost']} after {open_['Total Cost']}: {statement[0]}"
            )


def test_a_foreign_plan_differs_from_ours(session: Session, house: House) -> None:
    """The measure measures: what no index serves is found out."""
    assert sequential(plan(session, ("SELECT * FROM delivery WHERE pickup_address = 'x'", ()))) == {
        "delivery"
    }
