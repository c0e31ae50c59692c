"""Lists of deliveries: what each filter finds, and that 100,000 of them are read by one index scan a page."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from core.access.actors import Actor
from core.database.engine import make_engine, make_sessions
from core.deliveries import listing
from core.deliveries import search_words as delivery_search_words
from core.deliveries.detail import ListedDelivery
from core.deliveries.listing import Filters, Key
from core.rules.enums import Role, Status
from core.rules.text import search_words
from core.settings import Settings
from tests.support import factories
from tests.support.api_client import House, assert_bad_field, bearer
from tests.support.services.postgres import Databases
from tests.support.services.settings import make_settings

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MANY = 50_000  # of each of two companies
SLICE = 10_000
FEW = 2_000  # rows that may be sorted or read over: a thousandth part of what a full scan would be
FILL = """
INSERT INTO delivery (company_id, reference, status, customer_id, driver_id, vehicle_id, pickup_address,
                      dropoff_address, window_start, window_end, created_at)
SELECT :company, 'ORDER-' || n,
       CASE WHEN n % 500 = 0 THEN 'in_transit' WHEN n % 20 = 0 THEN 'failed' ELSE 'delivered' END,
       :customer + n % 200, :driver + n % 100, :vehicle + n % 100,
       'Depot ' || n % 7, 'Street ' || n % 5000 || ', ' || (ARRAY['Berlin', 'Potsdam'])[1 + n % 2],
       timestamptz '2026-01-01Z' + n * interval '1 minute',
       timestamptz '2026-01-01Z' + (n + 60) * interval '1 minute', timestamptz '2026-01-01Z'
FROM generate_series(:low, :high) n
"""


def found(client: TestClient, headers: dict[str, str], **filters: Any) -> list[int]:
    answer = client.get("/deliveries/", params=filters, headers=headers)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def test_several_statuses_are_any_of_them(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    under_way = factories.delivery(session, house.company, Status.IN_TRANSIT)
    factories.delivery(session, house.company, Status.DELIVERED)
    session.commit()
    headers = bearer(settings, house.manager)
    assert found(client, headers, status=["pending", "in_transit"]) == [under_way.id, house.delivery.id]
    assert_bad_field(
        client.get("/deliveries/", params={"status": ["pending", "lost"]}, headers=headers), "status"
    )


@pytest.mark.parametrize(
    ("words", "is_found"),
    [
        ("alexander", True),
        ("ALEXANDERPLATZ potsdam", True),
        ("straße", True),
        ("STRASSE", True),
        ("4711", True),
        ("order-4711", True),
        ("platz", False),
        ("alexander hamburg", False),
        ("'); DROP TABLE delivery; --", False),
        ("' & !*:()<->\\", True),  # no word in it at all: nothing to look for
        ("w" * 200, True),
    ],
)
def test_text_finds_the_beginnings_of_words(
    client: TestClient, house: House, settings: Settings, session: Session, words: str, is_found: bool
) -> None:
    delivery = factories.delivery(
        session,
        house.company,
        reference="ORDER-4711",
        pickup_address="Alexanderplatz 1, Große STRASSE",
        dropoff_address=f"Potsdam, Straße 5, {'w' * 900}",
    )
    house.delivery.pickup_address = house.delivery.dropoff_address = "elsewhere"
    if words == "STRASSE":
        delivery.pickup_address = "Alexanderplatz"
    session.commit()
    assert (delivery.id in found(client, bearer(settings, house.driver) | {}, q=words)) is False
    assert (delivery.id in found(client, bearer(settings, house.manager), q=words)) is is_found


def test_text_follows_an_edit(client: TestClient, house: House, settings: Settings) -> None:
    headers, path = bearer(settings, house.manager), f"/deliveries/{house.delivery.id}/"
    assert found(client, headers, q="tempelhof") == []
    client.patch(path, json={"dropoff": {"address": "Tempelhofer Feld"}}, headers=headers)
    assert found(client, headers, q="tempelhof") == [house.delivery.id]


def test_a_stretch_of_time_goes_by_the_window_or_the_creation(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    def at(minutes: int, **values: Any) -> int:
        start = NOON + timedelta(minutes=minutes)
        return factories.delivery(session, house.company, **{"window_start": start} | values).id

    late, early, plain = at(50), at(10), at(0, window_start=None, created_at=NOON + timedelta(minutes=30))
    at(60), at(-1)
    twin = at(10)
    session.commit()
    headers = bearer(settings, house.operator)
    stretch = {"from": NOON.isoformat(), "to": (NOON + timedelta(hours=1)).isoformat()}
    assert found(client, headers, **stretch) == [late, plain, twin, early]
    seen, query = [], {"limit": "1", **stretch}
    for _ in range(4):
        page = client.get("/deliveries/", params=query, headers=headers).json()
        seen += [item["id"] for item in page["items"]]
        query["cursor"] = page["next"]
    assert seen == [late, plain, twin, early]
    assert page["next"] is None


def test_a_cursor_of_another_order_and_a_backward_stretch_are_named(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    factories.delivery(session, house.company)
    session.commit()
    headers = bearer(settings, house.manager)

    def get(**query: str) -> Any:
        return client.get("/deliveries/", params=query, headers=headers)

    by_id = get(limit="1").json()["next"]
    since = {"from": "2020-01-01T00:00:00Z"}
    by_time = get(limit="1", **since).json()["next"]
    assert_bad_field(get(cursor=by_id, **since), "cursor")
    assert_bad_field(get(cursor=by_time), "cursor")
    assert_bad_field(get(to="2019-01-01T00:00:00Z", **since), "to")
    assert_bad_field(get(**{"from": "yesterday"}), "from")


@pytest.fixture(scope="module")
def crowd(databases: Databases) -> Iterator[tuple[Session, dict[Role, Actor]]]:
    """Two companies with 100,000 deliveries between them, and who asks in the second."""
    with databases.fresh() as url:
        engine: Engine = make_engine(make_settings(url), process="test")
        with make_sessions(engine)() as session:
            actors: dict[Role, Actor] = {}
            for _ in range(2):
                actors = _fill(session)
            session.commit()
            while delivery_search_words.fill(session, NOON):
                session.commit()
            session.execute(text("ANALYZE"))
            session.commit()
            yield session, actors
        engine.dispose()


def _fill(session: Session) -> dict[Role, Actor]:
    company = factories.company(session)
    customers = [factories.customer(session, company) for _ in range(200)]
    drivers = [factories.driver(session, company) for _ in range(100)]
    vehicles = [factories.vehicle(session, company) for _ in range(100)]
    first = {"customer": customers[0].id, "driver": drivers[0].id, "vehicle": vehicles[0].id}
    for low in range(1, MANY, SLICE):  # no statement takes long, however busy the machine is
        slice_ = {"low": low, "high": low + SLICE - 1}
        session.execute(text(FILL), {"company": company.id, **slice_, **first})
    people = {
        Role.MANAGER: factories.user(session, company),
        Role.DRIVER: factories.user(session, company, Role.DRIVER, driver_id=drivers[5].id),
        Role.CUSTOMER: factories.user(session, company, Role.CUSTOMER, customer_id=customers[5].id),
    }
    return {role: factories.actor(company, user) for role, user in people.items()}


def _filters(actor: Actor) -> dict[str, Filters]:
    at = datetime(2026, 1, 20, tzinfo=UTC)
    return {
        "none": Filters(),
        "common status": Filters(statuses=[Status.DELIVERED]),
        "rare status": Filters(statuses=[Status.IN_TRANSIT]),
        "absent status": Filters(statuses=[Status.PENDING]),
        "statuses": Filters(statuses=[Status.PENDING, Status.PICKUP_IN_PROGRESS, Status.IN_TRANSIT]),
        "driver": Filters(driver_id=actor.driver_id or 7),
        "driver and status": Filters(driver_id=actor.driver_id or 7, statuses=[Status.DELIVERED]),
        "vehicle": Filters(vehicle_id=9),
        "customer": Filters(customer_id=actor.customer_id or 11),
        "day": Filters(since=at, until=at + timedelta(days=1)),
        "long stretch": Filters(since=at),
        "day and status": Filters(since=at, until=at + timedelta(days=1), statuses=[Status.FAILED]),
        "one reference": Filters(text="order-4711"),
        "street": Filters(text="street 471"),
        "common word": Filters(text="berlin"),
        "absent word": Filters(text="hamburg"),
        "word and status": Filters(text="berlin", statuses=[Status.FAILED]),
    }


@pytest.mark.parametrize("role", [Role.MANAGER, Role.DRIVER, Role.CUSTOMER])
def test_each_page_among_100_000_is_one_index_scan(
    crowd: tuple[Session, dict[Role, Actor]], role: Role
) -> None:
    session, actors = crowd
    actor = actors[role]
    for name, filters in _filters(actor).items():
        _assert_one_index_scan(session, actor, filters, None, name)
        rows = listing.page(session, actor, filters, limit=3)
        if rows:
            _assert_one_index_scan(
                session, actor, filters, listing.key_of(rows[-1], filters), f"{name} after"
            )


def _assert_one_index_scan(
    session: Session, actor: Actor, filters: Filters, after: Key | None, name: str
) -> None:
    session.rollback()  # ends what the list before has set
    query = listing.select_page(actor, filters, after=after, limit=51)
    dialect = session.get_bind().dialect
    compiled = query.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    if search_words.query(filters.text, actor.company_id) is None:
        session.execute(listing.NO_BITMAPS)
    explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {compiled}"
    plan = session.connection().exec_driver_sql(explain, compiled.params).scalar_one()[0]["Plan"]
    nodes = list(_nodes(plan))
    scans = [
        node for node in nodes if "Scan" in node["Node Type"] and node["Node Type"] != "Bitmap Heap Scan"
    ]
    assert len(scans) == 1, f"{name}: {plan}"
    assert scans[0]["Node Type"] in {"Index Scan", "Index Only Scan", "Bitmap Index Scan"}, f"{name}: {plan}"
    for node in nodes:
        touched = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        assert touched <= FEW, f"{name} reads {touched} rows in {node['Node Type']}: {plan}"


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def test_the_look_for_rows_without_words_reads_few_of_100_000(
    crowd: tuple[Session, dict[Role, Actor]],
) -> None:
    session, actors = crowd
    session.rollback()
    values = {"company_id": actors[Role.MANAGER].company_id, "limit": delivery_search_words.BATCH}
    for query in (delivery_search_words._ANY_OUTDATED, delivery_search_words._OUTDATED):
        plan = session.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}"), values).scalar_one()
        nodes = list(_nodes(plan[0]["Plan"]))
        assert {node.get("Index Name", "ix_delivery_words_outdated") for node in nodes} == {
            "ix_delivery_words_outdated"
        }
        assert not [node for node in nodes if node["Node Type"] == "Seq Scan"]
        assert max(node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in nodes) == 0


def test_pages_hold_what_a_plain_query_finds(crowd: tuple[Session, dict[Role, Actor]]) -> None:
    session, actors = crowd
    manager = actors[Role.MANAGER]
    day = datetime(2026, 1, 20, tzinfo=UTC)
    filters = Filters(since=day, until=day + timedelta(days=1), statuses=[Status.FAILED], text="street 2")
    seen: list[ListedDelivery] = []
    while page := listing.page(
        session, manager, filters, after=listing.key_of(seen[-1], filters) if seen else None, limit=4
    ):
        seen += page
    expected = session.execute(
        text(
            "SELECT id FROM delivery WHERE company_id = :company AND status = 'failed'"
            " AND window_start >= :day AND window_start < :day + interval '1 day'"
            " AND (reference LIKE 'ORDER-2%' OR pickup_address LIKE 'Depot 2%'"
            " OR dropoff_address LIKE 'Street 2%')"
            " ORDER BY window_start DESC"
        ),
        {"company": manager.company_id, "day": day},
    ).scalars()
    assert [row.id for row in seen] == expected.all()
    assert len(seen) > 4
