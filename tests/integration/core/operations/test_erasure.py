"""An erased customer: a mark in every text that the API takes about it is searched for in all tables."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from core.models.delivery import Delivery
from core.models.record import Quarantine
from core.nightly.nights import Night
from core.operations import retention
from core.reporting import daily_report
from core.rules.enums import Role, Status
from core.rules.times import time_zones
from core.settings import Settings
from tests.support import factories, pictures
from tests.support.api_client import House, assert_bad_field, assert_problem, bearer
from tests.support.openapi.walk import Json
from tests.support.services.processes import Processes

KEYS = count(1)
MARK, OTHERS = "Zyx1Zyx", "Wvu2Wvu"
PHOTO = ("photos", ("a.jpg", pictures.jpeg(), "image/jpeg"))
TABLES = """
SELECT relname FROM pg_class
WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace
"""
SHORTENED = 4  # the search index keeps the beginnings of words too


def resolve(document: Json, schema: Json) -> Json:
    """The schema itself, without the choice of null."""
    for choice in schema.get("anyOf", []):
        if choice.get("type") != "null":
            return resolve(document, choice)
    if "$ref" in schema:
        return resolve(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    return schema


def filled(document: Json, schema: Json, mark: str, given: Json) -> Json:
    """A body with the mark in every free text; ``given`` says all else."""
    body: Json = dict(given)
    for name, place in resolve(document, schema)["properties"].items():
        inner = resolve(document, place)
        if name in given:
            continue
        if inner.get("type") == "object":
            body[name] = filled(document, inner, mark, {"latitude": 52.5, "longitude": 13.4})
        elif inner.get("format") == "idn-email":
            body[name] = f"{mark}@example.com"
        elif inner.get("type") == "string" and not {"enum", "format", "const"} & inner.keys():
            body[name] = f"{mark} text"
    return body


class Story:
    """A customer with every kind of data about it, under one mark."""

    def __init__(self, client: TestClient, session: Session, settings: Settings, house: House, mark: str):
        self.client, self.session, self.settings, self.house, self.mark = (
            client,
            session,
            settings,
            house,
            mark,
        )
        self.document = client.get("/openapi.json").json()
        self.manager = bearer(settings, house.manager)
        self.customer: int = self.post("/customers/")["id"]
        self.user = self.post("/invitations/", role="customer", customer_id=self.customer)["user"]["id"]
        self.post("/auth/token", expected=401, form=True, username=f"{mark}@example.com", password="wrong")
        self.post("/auth/reset", expected=202)
        self.order = self.post("/load-orders/", items=[{"description": f"{mark} text", "quantity": 2}])["id"]
        self.deliveries = [self.delivery("delivered"), self.delivery("failed")]
        self.refused()
        self.report_the_day()

    def post(
        self, path: str, expected: int | None = None, form: bool = False, template: str = "", **given: Any
    ) -> Json:
        """With an Idempotency-Key, so that the answer is kept."""
        operation = self.document["paths"][template or path]["post"]
        (content,) = operation["requestBody"]["content"].values()
        body = given if form else filled(self.document, content["schema"], self.mark, given)
        headers = {**self.manager, "Idempotency-Key": f"key-{next(KEYS)}"}
        answer = self.client.post(path, headers=headers, **({"data": body} if form else {"json": body}))
        assert answer.status_code == expected or (expected is None and answer.is_success), answer.text
        found: Json = answer.json() if answer.content else {}
        return found

    def delivery(self, ending: str) -> int:
        house = self.house
        people = {"driver_id": house.driver.driver_id, "vehicle_id": house.vehicle.id}
        ids: Json = {"customer_id": self.customer, "load_order_id": self.order, **people}
        made: int = self.post("/deliveries/", **ids, window_start=None, window_end=None)["id"]
        edited = {"reference": f"{self.mark} {ending}"}
        assert self.client.patch(f"/deliveries/{made}/", json=edited, headers=self.manager).is_success
        path, template = f"/deliveries/{made}/status/", "/deliveries/{delivery_id}/status/"
        for status in ("pickup_in_progress", "in_transit", ending):
            if status == ending:
                self.prove(made)
            self.post(path, template=template, status=status, occurred_at=None)
            fix = {"latitude": 52.51, "longitude": 13.39}
            self.client.post(f"/deliveries/{made}/location/", json=fix, headers=self.manager)
        return made

    def prove(self, delivery_id: int) -> None:
        """A name, a note and a picture."""
        sent = {"recipient_name": f"{self.mark} text", "note": f"{self.mark} text"}
        answer = self.client.post(
            f"/deliveries/{delivery_id}/proofs/", data=sent, files=[PHOTO], headers=self.manager
        )
        assert answer.is_success, answer.text

    def refused(self) -> None:
        """Store messages of a phone, one of them with an id of the wrong type."""
        for sent in (self.deliveries[0], f'"{self.deliveries[1]}"'):
            raw = f'{{"delivery" : {sent}, "status": "failed", "reason": "{self.mark} nicht da"}}'
            self.session.add(
                Quarantine(
                    company_id=self.house.company.id,
                    device_id=self.house.device.id,
                    topic=f"up/0/{self.house.device.id}/status",
                    raw=raw.encode(),
                    reason="invalid",
                    detail=f"{self.mark} text",
                    received_at=datetime.now(UTC),
                )
            )
        self.session.commit()

    def report_the_day(self) -> None:
        """As at night: what it quotes is stored."""
        day = time_zones.day_of(datetime.now(UTC), "UTC")
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        company = self.house.company
        night = Night(
            company_id=company.id,
            company=company.slug,
            time_zone="UTC",
            day=day,
            starts_at=start,
            ends_at=start + timedelta(days=1),
        )
        daily_report.make(self.session, night, datetime.now(UTC))
        self.session.commit()

    def erase(self) -> httpx.Response:
        path = f"/customers/{self.customer}/erase/"
        answer: httpx.Response = self.client.post(path, json={"confirm": True}, headers=self.manager)
        return answer


def found(session: Session, mark: str) -> dict[str, int]:
    """In how many rows of which tables the mark stands: as text, in JSON, in bytes, in the search index."""
    session.rollback()
    condition = "t::text ILIKE :mark OR t::text LIKE :hex"
    known = {"mark": f"%{mark}%", "hex": f"%{mark.encode().hex()}%"}
    counts: dict[str, Any] = {
        table: session.scalar(text(f'SELECT count(*) FROM "{table}" t WHERE {condition}'), known)
        for table in session.scalars(text(TABLES)).all()
    }
    lexemes = "SELECT count(*) FROM delivery WHERE search::text || search_words::text LIKE :start"
    start = {"start": f"%'{mark.lower()[:SHORTENED]}'%"}
    counts["search"] = session.scalar(text(lexemes), start)
    return {table: count for table, count in counts.items() if count}


@pytest.fixture
def story(client: TestClient, session: Session, settings: Settings, house: House) -> Story:
    return Story(client, session, settings, house, MARK)


def test_no_mark_is_left_in_any_column_of_any_table(
    client: TestClient, session: Session, settings: Settings, house: House, story: Story
) -> None:
    other = Story(client, session, settings, house, OTHERS)
    before, others = found(session, MARK), found(session, OTHERS)
    reached = {"customer", "app_user", "delivery", "delivery_checkpoint", "load_order", "load_item", "outbox"}
    assert reached | {"quarantine", "audit_entry", "idempotency", "search", "notification"} <= before.keys()
    assert {"delivery_proof", "daily_report"} <= before.keys()
    assert before.keys() == others.keys()
    answer = story.erase()
    assert answer.status_code == 200, answer.text
    assert found(session, MARK) == {}
    after = found(session, OTHERS)
    # Kept answers are forgotten whole, for any may show the customer.
    assert after == {table: count for table, count in others.items() if table != "idempotency"}
    assert client.get(f"/deliveries/{other.deliveries[0]}/", headers=story.manager).is_success


def test_what_was_deleted_or_taken_off_before_goes_too(
    client: TestClient, session: Session, story: Story
) -> None:
    """The log and the daily reports outlive a delivery, and a load that another took the place of."""
    spare = story.post("/load-orders/", items=[{"description": f"{MARK} text", "quantity": 1}])["id"]
    company = story.house.company
    pending = factories.delivery(
        session, company, customer_id=story.customer, load_order_id=None, reference="plain"
    )
    session.commit()
    for load in (spare, None):
        edited = {"load_order_id": load}
        assert client.patch(f"/deliveries/{pending.id}/", json=edited, headers=story.manager).is_success
    story.post(
        f"/deliveries/{pending.id}/status/",
        template="/deliveries/{delivery_id}/status/",
        status="failed",
        occurred_at=None,
    )
    session.execute(
        text(
            "UPDATE delivery SET ended_at = ended_at - interval '40 days', fact_retained = false"
            " WHERE id = ANY(:ids)"
        ),
        {"ids": story.deliveries},
    )
    before = datetime.now(UTC) - timedelta(days=30)
    assert retention.purge_deliveries(session, company.id, before, 10) == len(story.deliveries)
    session.commit()
    assert {"audit_entry", "daily_report", "load_order", "load_item"} <= found(session, MARK).keys()
    assert story.erase().is_success
    assert found(session, MARK) == {}


def test_a_phone_that_was_offline_brings_no_proof_back(client: TestClient, story: Story) -> None:
    story.erase()
    answer = client.post(
        f"/deliveries/{story.deliveries[0]}/proofs/",
        data={"recipient_name": f"{MARK} again"},
        files=[PHOTO],
        headers=story.manager,
    )
    assert_problem(answer, 409, "Conflict")
    assert found(story.session, MARK) == {}


def test_what_counts_stays(client: TestClient, session: Session, story: Story) -> None:
    def counted() -> list[Any]:
        session.rollback()
        numbers = (
            "SELECT id, customer_id, driver_id, status, created_at, started_at, ended_at FROM delivery",
            "SELECT delivery_id, status, occurred_at FROM delivery_checkpoint WHERE kind = 'status'",
            "SELECT load_order_id, quantity, weight_kg FROM load_item",
            "SELECT vehicle_id, fix_time FROM position",
        )
        return [sorted(map(str, session.execute(text(query)))) for query in numbers]

    before = counted()
    assert all(before)
    path = f"/deliveries/{story.deliveries[0]}"
    driven = client.get(f"{path}/report/", headers=story.manager).json()["driven"]
    story.erase()
    assert counted() == before
    report = client.get(f"{path}/report/", headers=story.manager).json()
    assert report["driven"].pop("removed_before") is not None
    assert report["driven"] == {key: value for key, value in driven.items() if key != "removed_before"}
    assert report["route"] == report["stops"] == report["speeds"] == []
    pictures_left = (
        "SELECT i.content FROM proof_image i JOIN delivery_proof p ON p.id = i.proof_id"
        " WHERE p.delivery_id = ANY(:ids)"
    )
    assert set(session.scalars(text(pictures_left), {"ids": story.deliveries})) == {None}
    track = client.get(f"{path}/track/", headers=story.manager).json()
    assert track["fixes"] == []
    assert track["removed_before"] is not None


def test_it_is_written_down_once_and_without_the_data(client: TestClient, story: Story) -> None:
    first, second = story.erase(), story.erase()
    assert first.json() == second.json()
    assert first.json()["name"] == "erased"
    assert first.json()["erased_at"] is not None
    entries = client.get("/audit/?action=customer.erased", headers=story.manager).json()["items"]
    assert [(entry["subject_id"], entry["changes"]) for entry in entries] == [(str(story.customer), {})]


def test_a_retained_status_is_cleared_from_the_broker(story: Story, session: Session) -> None:
    story.erase()
    session.rollback()
    cleared = "SELECT (payload ->> 'id')::int FROM outbox WHERE kind = 'delivery_gone' ORDER BY 1"
    assert session.scalars(text(cleared)).all() == story.deliveries
    retained = "SELECT count(*) FROM delivery WHERE fact_retained AND customer_id = :id"
    assert session.scalar(text(retained), {"id": story.customer}) == 0


def test_a_repeated_request_of_before_is_not_done_again(client: TestClient, story: Story) -> None:
    headers = {**story.manager, "Idempotency-Key": "once"}
    body = {"name": "Clara"}
    assert client.post("/customers/", json=body, headers=headers).status_code == 201
    story.erase()
    assert_problem(client.post("/customers/", json=body, headers=headers), 409, "Conflict")


def test_an_erased_customer_takes_no_data_any_more(
    client: TestClient, story: Story, session: Session
) -> None:
    story.erase()
    path = f"/customers/{story.customer}"
    assert_problem(client.patch(f"{path}/", json={"name": "N"}, headers=story.manager), 409, "Conflict")
    assert_problem(client.post(f"{path}/restore/", headers=story.manager), 409, "Conflict")
    gone = session.scalar(text("SELECT count(*) FROM app_user WHERE id = :id"), {"id": story.user})
    assert gone == 0


def test_a_shared_load_and_an_open_delivery_are_respected(
    client: TestClient, story: Story, session: Session
) -> None:
    other = factories.delivery(session, story.house.company, load_order_id=story.order)
    session.commit()
    assert story.erase().is_success
    order = client.get(f"/load-orders/{story.order}/", headers=story.manager).json()
    assert order["reference"] == f"{MARK} text"
    answer = client.post(
        f"/customers/{other.customer_id}/erase/", json={"confirm": True}, headers=story.manager
    )
    assert_problem(answer, 409, "Conflict")
    assert answer.json()["deliveries"] == [other.id]


@pytest.mark.parametrize("confirm", [False, None, "true", 1])
def test_it_wants_to_be_confirmed(
    client: TestClient, house: House, settings: Settings, confirm: object
) -> None:
    path = f"/customers/{house.customer.customer_id}/erase/"
    answer = client.post(path, json={"confirm": confirm}, headers=bearer(settings, house.manager))
    assert_bad_field(answer, "confirm")


def test_the_command_line_erases_too(processes: Processes, session: Session) -> None:
    company = factories.company(session)
    customer = factories.customer(session, company, name=MARK, email="c@example.com")
    at = datetime.now(UTC) - timedelta(days=1)
    delivery: Delivery = factories.delivery(
        session, company, Status.FAILED, customer_id=customer.id, ended_at=at, reference=MARK
    )
    factories.user(session, company, Role.CUSTOMER, customer_id=customer.id, name=MARK)
    session.commit()
    arguments = ("customer", "erase", str(customer.id), "--company", company.slug)
    assert processes.start(*arguments).wait(30) == 1  # no terminal to confirm on
    assert found(session, MARK)
    done = processes.start(*arguments, "--yes")
    assert done.wait(30) == 0, done.output()
    assert found(session, MARK) == {}
    assert session.scalar(text("SELECT reference FROM delivery")) == f"erased-{delivery.id}"
