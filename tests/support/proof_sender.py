"""A user who adds proofs to a delivery, and a house whose delivery has none."""

from typing import Any

import httpx
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from core.models.people import AppUser
from core.rules.enums import Status
from core.settings import Settings
from tests.support import pictures
from tests.support.api_client import House, bearer, furnish

KEY = {"Idempotency-Key": "k-1"}
PHOTO = ("photos", ("IMG_0001.HEIC", pictures.located_jpeg(), "text/html"))
SIGNATURE = ("signature", ("s.png", pictures.signature(), "image/png"))
NAMED = {"recipient_name": "Rita Recipient", "note": "Left with the neighbour"}


def unproven(session: Session, status: Status) -> House:
    """Without the proof that a house is furnished with."""
    house = furnish(session, status)
    session.execute(text("DELETE FROM delivery_proof"))
    session.commit()
    return house


class ProofSender:
    """A user of the house, adding proofs to its delivery."""

    def __init__(self, client: TestClient, settings: Settings, house: House, user: AppUser) -> None:
        self.client, self.path = client, f"/deliveries/{house.delivery.id}/"
        self.headers = bearer(settings, user)

    def add(self, *files: Any, headers: Any = None, **fields: Any) -> httpx.Response:
        answer: httpx.Response = self.client.post(
            f"{self.path}proofs/",
            files=[*files],
            data={name: str(value) for name, value in fields.items()},
            headers=self.headers | (headers or {}),
        )
        return answer

    def get(self, path: str, **headers: str) -> httpx.Response:
        answer: httpx.Response = self.client.get(f"{self.path}{path}", headers=self.headers | headers)
        return answer

    def status(self, status: str, **fields: Any) -> httpx.Response:
        answer: httpx.Response = self.client.post(
            f"{self.path}status/", json={"status": status} | fields, headers=self.headers
        )
        return answer


def ask_for(client: TestClient, settings: Settings, house: House, *parts: str) -> httpx.Response:
    answer: httpx.Response = client.patch(
        "/company/", json={"proof_required": parts}, headers=bearer(settings, house.manager)
    )
    assert answer.status_code == 200, answer.text
    return answer


def count(session: Session, table: str) -> int:
    session.rollback()
    return int(session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())
