"""Erase a customer: delete all that identifies the customer for good, and keep the figures.

`STATEMENTS` is the complete list: a new table that can hold such data gets a line there, and
``tests/integration/core/operations/test_erasure.py`` searches every column of every table for remains. The
vehicles' own fixes stay until `core.operations.retention` purges them, but no delivery leads to them then.

Idempotent: a second run, as after restoring an older backup, erases again but writes only one audit entry.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.accounts import throttle
from core.database import row_security
from core.fleet import archiving
from core.models.account import LoginAttempt
from core.models.delivery import Delivery
from core.models.people import AppUser, Customer
from core.models.report import DailyReport
from core.operations import retention
from core.records import audit, outbox

PURPOSES = ("login", "reset")  # purposes of attempts that are counted per e-mail address
# Parameters: :company_id, :customer_id, :deliveries and :loads (arrays of ids), :now. The …_texts also
# include purged rows. The customer's own row comes last.
STATEMENTS = (
    "UPDATE delivery SET reference = 'erased-' || id, pickup_address = 'erased', dropoff_address = 'erased',"
    " pickup_latitude = NULL, pickup_longitude = NULL, dropoff_latitude = NULL, dropoff_longitude = NULL,"
    " search_words = NULL, search_words_of = NULL,"  # the job of `core.deliveries.search_words` remakes them
    " checkpoint_time = NULL, checkpoint_latitude = NULL, checkpoint_longitude = NULL,"
    " version = version + 1, erased_at = coalesce(erased_at, :now) WHERE id = ANY(:deliveries)",
    "DELETE FROM delivery_checkpoint WHERE delivery_id = ANY(:deliveries) AND kind = 'location'",
    "UPDATE delivery_checkpoint SET reason = NULL, latitude = NULL, longitude = NULL, speed_kmh = NULL,"
    " course_deg = NULL, accuracy_m = NULL WHERE delivery_id = ANY(:deliveries)",
    # Together with the attempts to send them.
    "DELETE FROM notification WHERE company_id = :company_id"
    " AND (delivery_id = ANY(:deliveries) OR addressee = 'customer:' || :customer_id)",
    # The goods, the recipient's name and the place. The proof itself and the sizes of its pictures stay.
    "UPDATE proof_image SET content = NULL WHERE proof_id IN"
    " (SELECT id FROM delivery_proof WHERE delivery_id = ANY(:deliveries))",
    "UPDATE delivery_proof SET recipient_name = NULL, note = NULL, latitude = NULL, longitude = NULL,"
    " fingerprint = NULL WHERE delivery_id = ANY(:deliveries)",
    "UPDATE load_order SET reference = 'erased-' || id WHERE id = ANY(:loads)",
    "UPDATE load_item SET description = 'erased' WHERE load_order_id = ANY(:loads)",
    # Facts that are not published yet, or dead-lettered.
    "UPDATE outbox SET payload = payload || '{\"reason\": null}' WHERE company_id = :company_id"
    " AND kind = 'status' AND payload ->> 'delivery' = ANY(:delivery_texts)",
    # Refused messages of a driver's phone about such a delivery. The ids are compared as text, since the
    # number may be of any size. A truncated message may have named one in the missing part.
    "DELETE FROM quarantine WHERE company_id = :company_id"
    " AND (topic LIKE '%/status' OR topic LIKE '%/status/%') AND (raw_bytes > octet_length(raw) OR"
    " (regexp_match(encode(raw, 'escape'), '\"delivery\"\\s*:\\s*\"?([0-9]+)'))[1] = ANY(:delivery_texts))",
    # Of texts that may identify a customer, the audit log keeps only references.
    "UPDATE audit_entry SET changes = changes || '{\"reference\": null}' WHERE company_id = :company_id"
    " AND changes ->> 'reference' IS NOT NULL"
    " AND (subject_kind = 'delivery' AND subject_id = ANY(:delivery_texts)"
    "      OR subject_kind = 'load_order' AND subject_id = ANY(:load_texts))",
    # Any stored response of the last day may show the customer; a retried request gets a conflict that says
    # that it was done.
    "UPDATE idempotency SET body = NULL WHERE company_id = :company_id AND body IS NOT NULL",
    # Together with their sessions and links.
    "DELETE FROM app_user WHERE company_id = :company_id AND customer_id = :customer_id",
    "UPDATE customer SET name = 'erased', email = NULL, phone = NULL, address = NULL,"
    " archived_at = coalesce(archived_at, :now), erased_at = coalesce(erased_at, :now)"
    " WHERE company_id = :company_id AND id = :customer_id",
)
# Deliveries of the customer that retention has purged: the audit log and the daily reports still mention
# them.
FORMER = text(
    "SELECT DISTINCT e.subject_id::int FROM audit_entry e"
    " WHERE e.company_id = :company_id AND e.subject_kind = 'delivery' AND CAST(:customer_id AS text) IN"
    " (e.changes #>> '{customer_id,before}', e.changes #>> '{customer_id,after}')"
    " AND NOT EXISTS (SELECT FROM delivery d WHERE d.id = e.subject_id::int)"
)
# Loads that the deliveries carry, or once carried according to the audit log, except loads that another
# customer's delivery carries.
OWN_LOADS = text(
    "SELECT n.load_id FROM (SELECT d.load_order_id AS load_id FROM delivery d WHERE d.id = ANY(:deliveries)"
    " UNION SELECT v.load_id::int FROM audit_entry e CROSS JOIN LATERAL unnest(ARRAY["
    " e.changes #>> '{load_order_id,before}', e.changes #>> '{load_order_id,after}']) AS v(load_id)"
    " WHERE e.company_id = :company_id AND e.subject_kind = 'delivery' AND e.subject_id = ANY(:texts)) n"
    " WHERE n.load_id IS NOT NULL AND NOT EXISTS (SELECT FROM delivery o"
    " WHERE o.load_order_id = n.load_id AND o.customer_id <> :customer_id)"
)
DAYS_WITH_DELIVERIES = text(
    "SELECT r.day FROM daily_report r WHERE r.company_id = :company_id AND ("
    " EXISTS (SELECT FROM jsonb_array_elements(r.figures -> 'problems') p"
    "  WHERE (p ->> 'delivery_id')::int = ANY(:ids)) OR"
    " EXISTS (SELECT FROM jsonb_array_elements(r.figures -> 'reasons') n,"
    "  jsonb_array_elements_text(n -> 'delivery_ids') d WHERE d::int = ANY(:ids)))"
)


def erase(session: Session, actor: Actor, customer_id: int, now: datetime) -> Customer:
    """Erase a customer, for managers. Raises `NotFound`, and `Conflict` while a delivery is open."""
    customer = archiving.lock_whole(session, actor, Customer, customer_id)
    archiving.require_no_open_delivery(session, customer)
    is_new = customer.erased_at is None
    deliveries = _lock_deliveries(session, customer)
    _write_down_distances(session, deliveries, now)
    _clear_facts(session, actor, deliveries)
    with row_security.outside(session):  # under RLS, checkpoints and the audit log are append-only
        _erase_attempts(session, customer)
        values = _values(session, customer, deliveries, now)
        _scrub_daily_reports(session, customer.company_id, {int(key) for key in values["delivery_texts"]})
        for statement in STATEMENTS:
            session.execute(text(statement), values)
    session.refresh(customer)
    if is_new:
        audit.note(session, actor, "erased", customer)
    return customer


def erased(session: Session) -> list[tuple[str, int]]:
    """Return (slug, customer id) of all erased customers, whom a restored backup must erase again."""
    rows = session.execute(
        text(
            "SELECT c.slug, u.id FROM customer u JOIN company c ON c.id = u.company_id"
            " WHERE u.erased_at IS NOT NULL ORDER BY u.id"
        )
    )
    return [(slug, customer_id) for slug, customer_id in rows]


def _lock_deliveries(session: Session, customer: Customer) -> Sequence[Delivery]:
    return session.scalars(
        select(Delivery)
        .where(Delivery.company_id == customer.company_id, Delivery.customer_id == customer.id)
        .order_by(Delivery.id)
        .with_for_update(key_share=True)
    ).all()


def _write_down_distances(session: Session, deliveries: Sequence[Delivery], now: datetime) -> None:
    """Store the distances, because afterwards no delivery leads to the fixes that they are measured by."""
    for delivery in deliveries:
        if delivery.started_at is not None and delivery.driven_m is None:
            retention.store_distance(session, delivery, now)
    session.flush()


def _scrub_daily_reports(session: Session, company_id: int, ids: set[int]) -> None:
    """Remove references and reasons of these deliveries from the stored reports."""
    days = session.scalars(DAYS_WITH_DELIVERIES, {"company_id": company_id, "ids": list(ids)}).all()
    query = select(DailyReport).where(DailyReport.company_id == company_id, DailyReport.day.in_(days))
    for report in session.scalars(query.with_for_update()):
        report.figures = _scrubbed(report.figures, ids)
    session.flush()


def _scrubbed(figures: Mapping[str, Any], ids: set[int]) -> dict[str, Any]:
    reasons = [
        reason | {"reason": "erased"} if ids & set(reason["delivery_ids"]) else reason
        for reason in figures["reasons"]
    ]
    problems = [
        problem | {"reference": f"erased-{problem['delivery_id']}", "reason": None}
        if problem["delivery_id"] in ids
        else problem
        for problem in figures["problems"]
    ]
    return {**figures, "reasons": reasons, "problems": problems}


def _clear_facts(session: Session, actor: Actor, deliveries: Sequence[Delivery]) -> None:
    """Clear the retained status facts, which carry the reason that a user typed."""
    for delivery in deliveries:
        if delivery.fact_retained:
            delivery.fact_retained = False
            kind = outbox.OutboxKind.DELIVERY_GONE
            outbox.clear_retained(session, kind, delivery.company_id, actor.company_slug, delivery.id)
    session.flush()


def _erase_attempts(session: Session, customer: Customer) -> None:
    """Delete log-in counters, which are stored under a hash of the e-mail address."""
    users = select(AppUser.email).where(
        AppUser.company_id == customer.company_id, AppUser.customer_id == customer.id
    )
    emails = {*session.scalars(users), *([customer.email] if customer.email else [])}
    keys = [throttle.email_limit(email, purpose=purpose).key for email in emails for purpose in PURPOSES]
    session.execute(delete(LoginAttempt).where(LoginAttempt.key.in_(keys)))


def _values(
    session: Session, customer: Customer, deliveries: Sequence[Delivery], now: datetime
) -> Mapping[str, Any]:
    ids = [delivery.id for delivery in deliveries]
    known = {"company_id": customer.company_id, "customer_id": customer.id, "deliveries": ids}
    texts = [str(key) for key in (*ids, *session.scalars(FORMER, known))]
    loads = list(session.scalars(OWN_LOADS, known | {"texts": texts}))
    return known | {
        "delivery_texts": texts,
        "loads": loads,
        "load_texts": [str(key) for key in loads],
        "now": now,
    }
