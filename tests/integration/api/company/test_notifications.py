"""Choices, templates, webhooks and what was sent, over REST."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from core.models.notification import Webhook
from core.notifications.webhooks import endpoints
from core.settings import Settings
from tests.support import factories
from tests.support.api_client import House, assert_bad_field, assert_problem, bearer, furnish

TEMPLATE = "/notifications/templates/late/manager/"
WORDS = {"subject": "Late: {{ delivery.reference }}", "text": "{{ late_minutes }} minutes"}
HOOK = {"url": "https://hooks.example.com/t0ken", "events": ["late", "arriving_soon"]}


@pytest.fixture
def headers(house: House, settings: Settings) -> dict[str, str]:
    return bearer(settings, house.manager)


def test_choices_have_defaults_and_are_changed_one_by_one(
    client: TestClient, house: House, headers: dict[str, str], session: Session
) -> None:
    before = client.get("/notifications/settings/", headers=headers).json()
    assert before["events"]["status_changed"] == {"customer": True, "managers": False}
    assert (before["arriving_soon_min"], before["late_after_min"], before["device_silent_after_min"]) == (
        15,
        0,
        30,
    )
    body = {"events": {"late": {"customer": True}}, "late_after_min": 5}
    after = client.patch("/notifications/settings/", json=body, headers=headers)
    assert after.status_code == 200
    expected = before | {"late_after_min": 5}
    expected["events"]["late"] = {"customer": True, "managers": True}
    assert after.json() == expected
    assert client.get("/notifications/settings/", headers=headers).json() == expected
    changes = session.scalars(
        text("SELECT changes FROM audit_entry WHERE subject_kind = 'company' ORDER BY id")
    ).all()
    was = {"customer": False, "managers": True}
    assert {"late": {"before": was, "after": expected["events"]["late"]}} in changes
    assert {"late_after_min": {"before": 0, "after": 5}} in changes
    refused = {"events": {"device_silent": {"customer": True}}}
    answer = client.patch("/notifications/settings/", json=refused, headers=headers)
    assert answer.json()["errors"][0]["field"] == "events.device_silent.customer"


def test_a_template_is_shown_written_and_reset(
    client: TestClient, house: House, headers: dict[str, str], settings: Settings
) -> None:
    ours = client.get(TEMPLATE, headers=headers).json()
    assert ours["updated_at"] is None
    assert {"delivery.reference", "late_minutes", "company_name"} <= set(ours["facts"])
    shown = client.post(f"{TEMPLATE}preview/", json={"template": WORDS}, headers=headers).json()
    assert shown == {"subject": "Late: ORDER-1001", "text": "25 minutes", "html": None}
    assert client.get(TEMPLATE, headers=headers).json() == ours
    written = client.put(TEMPLATE, json=WORDS, headers=headers)
    assert written.status_code == 200
    assert written.json()["subject"] == WORDS["subject"]
    assert client.post(f"{TEMPLATE}preview/", json={}, headers=headers).json() == shown
    listed = client.get("/notifications/templates/", headers=bearer(settings, house.operator)).json()["items"]
    assert written.json() in listed
    assert client.put(TEMPLATE, json=WORDS, headers=bearer(settings, house.operator)).status_code == 403
    assert client.delete(TEMPLATE, headers=headers).status_code == 204
    assert client.get(TEMPLATE, headers=headers).json() == ours
    assert_problem(client.get("/notifications/templates/late/webhook/", headers=headers), 404, "NotFound")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("text", "a\n{{ nothing }}", "line 2: there is no nothing here"),
        ("subject", "{% for x in y %}", "line 1: "),
        ("html", "{{ 9 ** 9 }}", "line 1: pow is not part of this language"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_at_its_line(
    client: TestClient, headers: dict[str, str], field: str, value: str, message: str
) -> None:
    answer = client.put(TEMPLATE, json=WORDS | {field: value}, headers=headers)
    assert_bad_field(answer, field)
    assert answer.json()["errors"][0]["message"].startswith(message)
    assert client.get(TEMPLATE, headers=headers).json()["updated_at"] is None


def test_a_webhooks_secret_is_shown_once_and_rotated_with_an_overlap(
    client: TestClient, headers: dict[str, str], settings: Settings, session: Session
) -> None:
    made = client.post("/webhooks/", json=HOOK, headers=headers)
    assert made.status_code == 201
    first, path = made.json(), f"/webhooks/{made.json()['id']}"
    assert first["secret"].startswith("whsec_")
    assert first["events"] == ["arriving_soon", "late"]
    assert "secret" not in client.get(path, headers=headers).json()
    second = client.post(f"{path}/rotate/", headers=headers).json()
    row, now = session.get_one(Webhook, first["id"]), datetime.now(UTC)
    key = settings.mqtt_key.get_secret_value()
    assert endpoints.secrets(row, key, now) == [second["secret"], first["secret"]]
    assert endpoints.secrets(row, key, now + timedelta(days=1, minutes=1)) == [second["secret"]]
    stored = session.execute(text("SELECT w::text FROM webhook w")).scalars().all()
    noted = session.execute(text("SELECT a::text FROM audit_entry a")).scalars().all()
    for secret in (first["secret"], second["secret"], "t0ken"):
        assert all(secret not in line for line in noted)
        assert secret == "t0ken" or all(secret not in line for line in stored)


def test_operators_see_neither_secrets_of_urls_nor_recipients(
    client: TestClient, house: House, headers: dict[str, str], settings: Settings
) -> None:
    hook = client.post("/webhooks/", json=HOOK, headers=headers).json()
    operator = bearer(settings, house.operator)
    assert (
        client.get(f"/webhooks/{hook['id']}/", headers=operator).json()["url"]
        == "https://hooks.example.com/…"
    )
    path = f"/notifications/{house.notification.id}/"
    assert client.get(path, headers=headers).json()["recipient"] == house.notification.recipient
    shown = client.get(path, headers=operator)
    assert (shown.json()["recipient"], shown.json()["payload"]) == (None, None)
    assert str(house.notification.recipient) not in client.get("/notifications/", headers=operator).text


@pytest.mark.parametrize(
    "url", ["http://example.com/", "https://127.0.0.1/", "https://[fd00::1]/", "https://u:p@x.de/"]
)
def test_urls_that_webhooks_never_go_to_are_refused(
    client: TestClient, headers: dict[str, str], url: str
) -> None:
    assert_bad_field(client.post("/webhooks/", json=HOOK | {"url": url}, headers=headers), "url")


def test_a_webhook_is_disabled_enabled_tested_and_removed(
    client: TestClient, headers: dict[str, str], session: Session
) -> None:
    path = f"/webhooks/{client.post('/webhooks/', json=HOOK, headers=headers).json()['id']}"
    off = client.post(f"{path}/disable/", headers=headers).json()
    assert (off["disabled_because"], off["disabled_at"] is None) == ("manager", False)
    assert_problem(client.post(f"{path}/test/", headers=headers), 409, "Conflict")
    assert client.post(f"{path}/enable/", headers=headers).json()["disabled_at"] is None
    queued = client.post(f"{path}/test/", headers=headers).json()
    assert (queued["event"], queued["state"]) == ("test", "queued")
    assert client.delete(path, headers=headers).status_code == 204
    assert client.get(path, headers=headers).status_code == 404
    ended = client.get(f"/notifications/{queued['id']}/", headers=headers).json()
    assert (ended["state"], ended["error"]) == ("failed", "the webhook was removed")
    assert_problem(client.post(f"/notifications/{queued['id']}/resend/", headers=headers), 409, "Conflict")
    assert session.scalar(text("SELECT url FROM webhook ORDER BY id DESC LIMIT 1")) == ""


def test_a_company_has_twenty_webhooks_at_most(
    client: TestClient, house: House, headers: dict[str, str], session: Session
) -> None:
    for _ in range(endpoints.MAXIMUM - 1):
        factories.webhook(session, house.company)
    session.commit()
    assert_problem(client.post("/webhooks/", json=HOOK, headers=headers), 409, "Conflict")


def test_notifications_are_listed_newest_first_by_filter_and_page(
    client: TestClient, house: House, headers: dict[str, str], session: Session
) -> None:
    failed = factories.notification(session, house.company, state="failed", event="late")
    call = factories.notification(session, house.company, webhook_id=house.webhook.id)
    mail = factories.notification(session, house.company, delivery_id=house.delivery.id)
    furnish(session)
    session.commit()

    def listed(**query: Any) -> list[int]:
        answer = client.get("/notifications/", params=query, headers=headers)
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["items"]]

    assert listed() == [mail.id, call.id, failed.id, house.notification.id]
    assert listed(state="failed") == listed(event="late") == [failed.id]
    assert listed(webhook_id=house.webhook.id) == listed(audience="webhook") == [call.id]
    assert listed(delivery_id=house.delivery.id) == [mail.id]
    first = client.get("/notifications/", params={"limit": 3}, headers=headers).json()
    assert listed(limit=3, cursor=first["next"]) == [house.notification.id]


def test_every_attempt_is_shown_and_any_is_sent_again(
    client: TestClient, house: House, headers: dict[str, str], session: Session
) -> None:
    row = factories.notification(
        session,
        house.company,
        state="expired",
        attempts=2,
        error="HTTP status 500",
        expires_at=datetime.now(UTC) - timedelta(hours=1),
        webhook_id=house.webhook.id,
    )
    factories.attempt(session, row)
    factories.attempt(session, row, number=2, finished_at=None, duration_ms=None, code=None, error=None)
    session.commit()
    path = f"/notifications/{row.id}/"
    shown = client.get(path, headers=headers).json()
    assert [(a["number"], a["code"], a["error"]) for a in shown["attempts_made"]] == [
        (1, 500, "HTTP status 500"),
        (2, None, None),
    ]
    assert shown["payload"] == row.payload
    again = client.post(f"{path}resend/", headers=headers).json()
    assert (again["state"], again["error"], again["event_id"]) == ("queued", None, str(row.event_id))
    assert datetime.fromisoformat(again["expires_at"]) > datetime.now(UTC) + timedelta(hours=23)


def test_what_was_erased_is_not_sent_again(
    client: TestClient, house: House, headers: dict[str, str], session: Session
) -> None:
    row = factories.notification(session, house.company, state="sent", recipient=None, payload={})
    session.commit()
    assert_problem(client.post(f"/notifications/{row.id}/resend/", headers=headers), 409, "Conflict")


@pytest.mark.parametrize("change", ["enable", "another URL"])
def test_what_waits_to_be_tried_again_is_due_at_once(
    client: TestClient, house: House, headers: dict[str, str], session: Session, change: str
) -> None:
    later, hook = datetime.now(UTC) + timedelta(hours=2), house.webhook.id
    tried, under_way = (
        factories.notification(session, house.company, webhook_id=hook, attempts=1, next_attempt_at=later)
        for _ in range(2)
    )
    factories.attempt(session, tried)
    factories.attempt(session, under_way, finished_at=None, duration_ms=None, code=None, error=None)
    session.commit()
    if change == "enable":
        answer = client.post(f"/webhooks/{hook}/enable/", headers=headers)
    else:
        answer = client.patch(f"/webhooks/{hook}/", json={"url": "https://new.example.com/"}, headers=headers)
    assert answer.status_code == 200
    session.refresh(tried)
    session.refresh(under_way)
    assert tried.next_attempt_at == tried.created_at
    assert under_way.next_attempt_at == later


def test_an_email_is_sent_again_to_the_address_of_now(
    client: TestClient, house: House, headers: dict[str, str], session: Session
) -> None:
    addressee = f"customer:{house.delivery.customer_id}"
    values = {"state": "failed", "recipient": "mistyped@example.com", "addressee": addressee}
    row = factories.notification(session, house.company, **values)
    session.commit()
    path = f"/notifications/{row.id}/resend/"
    right = {"email": "right@example.com"}
    assert (
        client.patch(f"/customers/{house.delivery.customer_id}/", json=right, headers=headers).status_code
        == 200
    )
    assert client.post(path, headers=headers).json()["recipient"] == "right@example.com"
    client.patch(f"/customers/{house.delivery.customer_id}/", json={"email": None}, headers=headers)
    assert_problem(client.post(path, headers=headers), 409, "Conflict")


def test_a_disabled_manager_gets_no_more_notifications(
    client: TestClient, house: House, headers: dict[str, str], session: Session
) -> None:
    gone = factories.user(session, house.company)
    to_gone, to_manager = (
        factories.notification(session, house.company, audience="manager", addressee=f"user:{user.id}")
        for user in (gone, house.manager)
    )
    session.commit()
    assert client.post(f"/users/{gone.id}/disable/", headers=headers).status_code == 200
    session.refresh(to_gone)
    session.refresh(to_manager)
    assert (to_gone.state, to_gone.error, to_manager.state) == (
        "failed",
        "the recipient was disabled",
        "queued",
    )
    assert_problem(client.post(f"/notifications/{to_gone.id}/resend/", headers=headers), 409, "Conflict")
