"""A backup that 0.1.0 made (at 43e540f), restored by this code: people, lists, searches and resends go on.

Its texts are as they were typed then, partly decomposed (NFD); one password was set in NFD, one in NFC.
"""

import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from core.deliveries import search_words
from core.operations.backups.archive import key_mark
from core.operations.backups.restore import Wanted, restore
from tests.support.api_client import running
from tests.support.services.postgres import Databases
from tests.support.services.settings import make_settings

BACKUP = Path(__file__).parents[3] / "data" / "backup-0.1.0.zip"
KEYS = {"MILEPOST_MQTT_KEY": key_mark("one"), "MILEPOST_JWT_KEY": key_mark("two")}
JOSE = "jos\u00e9@acme.example"  # stored in NFD, as is his password
PASSWORD = "p\u00e4ssw\u00f6rd \u00e7af\u00e9 9"
BOSS, BOSS_PASSWORD = "boss@acme.example", "Gr\u00fc\u00dfe aus K\u00f6ln"
DRIVER, DRIVER_PASSWORD = "driver@acme.example", "plain ascii words"
# What the driver's phone sent to 0.1.0; it never heard the answers.
UNDER_WAY = 11
SENT_STATUS = {"status": "in_transit", "occurred_at": "2026-11-27T19:47:27.615891+00:00"}
SENT_PROOF = {
    "recipient_name": unicodedata.normalize("NFD", "Ren\u00e9e S\u00f8ren"),
    "note": unicodedata.normalize("NFD", "hinter der T\u00fcr"),
    "occurred_at": "2026-11-20T10:00:00.123456Z",
}
FOUND = {
    "ถนนสุขุมวิท": "OLD-thai",
    "สุขุมวิท 71": "OLD-thai",
    "Nguyễn Huệ": "OLD-vietnamese-nfd",
    "GROSSE STRASSE": "OLD-german",
    "istiklal": "OLD-turkish",
    "千代田区": "OLD-japanese",
    "गांधी": "OLD-hindi",
    "محمد 7": "OLD-arabic",
    "הרצל": "OLD-hebrew",
    "강남구": "OLD-korean-nfd",
    "tower 123": "OLD-full-width",
    "alexander": "OLD-plain",
    "CAFÉ": "OLD-french-nfd",
}


@pytest.fixture(scope="module")
def restored(databases: Databases) -> Iterator[str]:
    with databases.fresh() as url:
        restore(BACKUP, url, Wanted(keys=KEYS, replace=True), datetime.now(UTC))
        yield url


@pytest.fixture(scope="module")
def client(restored: str) -> Iterator[TestClient]:
    with running(make_settings(restored)) as client:
        yield client


def log_in(client: TestClient, email: str, password: str) -> dict[str, str]:
    answer = client.post("/auth/token", data={"username": email, "password": password})
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def references(client: TestClient, headers: dict[str, str], **query: Any) -> list[str]:
    answer = client.get("/deliveries/", params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    return [item["reference"] for item in answer.json()["items"]]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize(
    ("email", "password"), [(JOSE, PASSWORD), (BOSS, BOSS_PASSWORD), (DRIVER, DRIVER_PASSWORD)]
)
def test_everyone_gets_in(client: TestClient, form: Any, email: str, password: str) -> None:
    headers = log_in(client, unicodedata.normalize(form, email), unicodedata.normalize(form, password))
    assert client.get("/me/", headers=headers).json()["company"]["slug"] == "acme"


def test_lists_are_whole_and_searched_as_before_until_the_job_has_run(
    client: TestClient, restored: str
) -> None:
    headers = log_in(client, BOSS, BOSS_PASSWORD)
    assert len(references(client, headers)) == 12
    assert references(client, headers, status="in_transit") == ["OLD-plain"]
    assert references(client, headers, q="alexander") == ["OLD-plain"]
    assert len(references(client, headers, q="old depot")) == 12
    for noun in ("customers", "drivers", "vehicles", "users"):
        assert client.get(f"/{noun}/", headers=headers).json()["items"]
    engine = create_engine(restored)
    with Session(engine) as session:
        while search_words.fill(session, datetime.now(UTC), limit=5):
            session.commit()
    engine.dispose()
    assert {q: references(client, headers, q=q) for q in FOUND} == {q: [name] for q, name in FOUND.items()}
    decomposed = {q: unicodedata.normalize("NFD", q) for q in FOUND}
    assert {q: references(client, headers, q=decomposed[q]) for q in FOUND} == {
        q: [name] for q, name in FOUND.items()
    }
    assert len(references(client, headers, q="old depot")) == 12


def test_what_a_phone_sent_to_the_version_before_is_known(client: TestClient, restored: str) -> None:
    headers, path = log_in(client, DRIVER, DRIVER_PASSWORD), f"/deliveries/{UNDER_WAY}/"
    assert client.post(f"{path}status/", json=SENT_STATUS, headers=headers).json()["result"] == "unchanged"
    form = [(name, (None, value)) for name, value in SENT_PROOF.items()]
    proof = client.post(f"{path}proofs/", files=form, headers=headers)
    assert proof.status_code == 201
    engine = create_engine(restored)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM delivery_proof")) == 1
    engine.dispose()
