"""Deliveries are found in every script, also those that 0.1.0 wrote or edited on this structure."""

# ruff: noqa: RUF001  # letters that look like others are what this is about
import unicodedata
from datetime import UTC, datetime
from threading import Event

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from core.deliveries import search_words
from core.operations import erasure
from core.rules.enums import Status
from core.settings import Settings
from jobs.schedule.run import JobRun, run_job
from jobs.schedule.table import find
from tests.support import factories
from tests.support.api_client import House, bearer

NOW = datetime.now(UTC)
# What 0.1.0 sends for a new delivery and for an edit: it knows nothing of words.
INSERT = """
INSERT INTO delivery (company_id, reference, customer_id, pickup_address, dropoff_address, vehicle_since)
VALUES (:company, :reference, :customer, 'Depot', :address, now()) RETURNING id
"""
EDIT = "UPDATE delivery SET dropoff_address = :address, version = version + 1 WHERE id = :id"


def nfd(words: str) -> str:
    return unicodedata.normalize("NFD", words)


def by_former(session: Session, house: House, address: str, reference: str = "OLD-1") -> int:
    values = {"company": house.company.id, "customer": house.customer.customer_id}
    row_id: int = session.execute(
        text(INSERT), values | {"reference": reference, "address": address}
    ).scalar_one()
    session.commit()
    return row_id


def found(client: TestClient, headers: dict[str, str], q: str, **query: str) -> list[int]:
    answer = client.get("/deliveries/", params={"q": q} | query, headers=headers)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def made(session: Session) -> int:
    done = search_words.fill(session, NOW)
    session.commit()
    return done


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("ถนนสุขุมวิท 71", "ถนนสุขุมวิท"),
        ("ถนนสุขุมวิท 71", "สุขุมวิท"),
        (nfd("Đường Nguyễn Huệ"), "Nguyễn Huệ"),
        ("Café de la Gare", nfd("CAFÉ")),
        ("महात्मा गांधी मार्ग", "गांधी"),
        ("शहर", "शह"),
        ("شارع مُحَمَّد علي ٧", "محمد 7"),
        ("רְחוֹב הֶרְצֶל", "הרצל"),
        (nfd("서울특별시 강남구"), "강남"),
        ("東京都千代田区丸の内1-9-1", "丸の内 9"),
        ("Große Straße 5", "STRASSE"),
        ("İSTİKLAL CADDESİ", "istiklal"),
        ("Ｔｏｗｅｒ　１２３", "tower 123"),
        ("Oﬃce 👨‍👩‍👧", "office 👨‍👩‍👧"),
    ],
)
def test_delivery_is_found_in_its_script(
    client: TestClient, house: House, settings: Settings, session: Session, address: str, asked: str
) -> None:
    headers, path = bearer(settings, house.manager), f"/deliveries/{house.delivery.id}/"
    changed = client.patch(path, json={"dropoff": {"address": address}}, headers=headers)
    assert changed.json()["dropoff"]["address"] == unicodedata.normalize("NFC", address)
    assert found(client, headers, asked) == [house.delivery.id]
    assert found(client, headers, f"{asked} zzz") == []
    row_id = by_former(session, house, address)
    assert made(session) == 1
    assert found(client, headers, asked) == [row_id, house.delivery.id]


def test_what_0_1_0_writes_is_found_before_and_after_the_job(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    headers = bearer(settings, house.manager)
    row_id = by_former(session, house, "Tempelhofer Feld, สุขุมวิท")
    assert found(client, headers, "tempel") == [row_id]
    assert found(client, headers, "\u0e02\u0e38\u0e21") == []
    assert made(session) == 1
    assert found(client, headers, "tempel \u0e02\u0e38\u0e21") == [row_id]
    session.execute(text(EDIT), {"id": row_id, "address": "Hermannplatz"})
    session.commit()
    assert found(client, headers, "hermann") == [row_id]
    assert made(session) == 1
    assert found(client, headers, "hermann") == [row_id]
    assert found(client, headers, "tempel") == []
    assert made(session) == 0
    assert found(client, bearer(settings, house.driver), "hermann") == []


def test_job_makes_the_words(house: House, session: Session, sessions: sessionmaker[Session]) -> None:
    for number in range(3):
        by_former(session, house, f"Feld {number}")
    job = find("delivery_words")
    assert job is not None
    assert run_job(job, JobRun(job.name, sessions, Event())).result == "3"
    assert not search_words.is_any_outdated(session, house.company.id)


def test_pages_of_both_kinds_are_in_one_order(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    headers, expected = bearer(settings, house.manager), []
    for number in range(7):
        if number % 2:
            expected.append(by_former(session, house, "Tempelhof", f"OLD-{number}"))
        else:
            expected.append(factories.delivery(session, house.company, dropoff_address="Tempelhof").id)
            session.commit()
    seen: list[int] = []
    query = {"q": "TEMPELHOF", "limit": "2"}
    while True:
        page = client.get("/deliveries/", params=query, headers=headers).json()
        seen += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert seen == expected[::-1]


def test_row_is_found_while_the_job_makes_its_words(
    client: TestClient,
    house: House,
    settings: Settings,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row_id = by_former(session, house, "Tempelhof")
    ask = search_words.is_any_outdated

    def ask_then_make(asking: Session, company_id: int) -> bool:
        is_any = ask(asking, company_id)
        made(session)
        return is_any

    def make_then_ask(asking: Session, company_id: int) -> bool:
        made(session)
        return ask(asking, company_id)

    for between in (ask_then_make, make_then_ask):
        session.execute(text("UPDATE delivery SET search_words_of = NULL, search_words = NULL"))
        session.commit()
        monkeypatch.setattr(search_words, "is_any_outdated", between)
        assert found(client, bearer(settings, house.manager), "tempelhof") == [row_id]


def test_two_jobs_at_once_do_not_wait_for_each_other(
    house: House, session: Session, sessions: sessionmaker[Session]
) -> None:
    for number in range(3):
        by_former(session, house, f"Feld {number}")
    with sessions() as other:
        assert search_words.fill(other, NOW, limit=2) == 2
        assert made(session) == 1
        other.commit()
    assert made(session) == 0


def test_a_signs_only_search_leaves_former_rows_out(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    by_former(session, house, "Tempelhof")
    assert found(client, bearer(settings, house.manager), "🚚") == []


def test_erased_words_are_gone_at_once(
    house: House, session: Session, client: TestClient, settings: Settings
) -> None:
    ended = {"ended_at": NOW, "customer_id": factories.customer(session, house.company).id}
    delivery = factories.delivery(
        session, house.company, Status.DELIVERED, dropoff_address="Geheimweg", **ended
    )
    session.commit()
    erasure.erase(session, factories.actor(house.company, house.manager), delivery.customer_id, NOW)
    session.commit()
    words = "SELECT search_words::text || search::text FROM delivery WHERE id = :id"
    assert "geheim" not in str(session.scalar(text(words), {"id": delivery.id}))
    assert found(client, bearer(settings, house.manager), f"erased-{delivery.id}") == [delivery.id]
    assert made(session) == 1
    assert found(client, bearer(settings, house.manager), f"erased-{delivery.id}") == [delivery.id]
