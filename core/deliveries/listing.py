"""Lists of deliveries: filters, full-text search, keyset pagination. Every page is one index scan."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, cast, false, func, literal, select, text, tuple_
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.orm import InstrumentedAttribute, Session

from core.access.actors import Actor, visible_deliveries
from core.database import row_security
from core.deliveries import load_orders
from core.deliveries import search_words as delivery_search_words
from core.deliveries.detail import OWN, DeliveryRow, ListedDelivery, row_values
from core.models.delivery import SEARCH_CUTS, SEARCH_MARK, WORDS_OUTDATED, Delivery
from core.rules.enums import Status
from core.rules.text import search_words

# Only the full-text index needs bitmap scans. For the other filters PostgreSQL would combine two indexes and
# sort, although one index already has the order.
NO_BITMAPS = text("SET LOCAL enable_bitmapscan = off")


class Key(msgspec.Struct, frozen=True, array_like=True):
    """The keyset cursor: where a page ended. ``scheduled_at`` is set only when the list is ordered by it."""

    delivery_id: int
    scheduled_at: datetime | None = None


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Empty or None: no filter. ``since <= scheduled_at < until``.

    All words of ``text`` must match, each as the prefix of a word.
    """

    statuses: Sequence[Status] = ()
    driver_id: int | None = None
    vehicle_id: int | None = None
    customer_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None

    @property
    def by_time(self) -> bool:
        """Whether the list is ordered by time: one index then serves both the range and the order."""
        return self.since is not None or self.until is not None


def page(
    session: Session, actor: Actor, filters: Filters, *, after: Key | None = None, limit: int = 50
) -> list[ListedDelivery]:
    """Return deliveries with load totals, newest first.

    The order is by ``id``, or by ``scheduled_at, id`` in a time range.
    """
    query = select_page(actor, filters, after=after, limit=limit)
    if search_words.query(filters.text, actor.company_id) is None:
        session.execute(NO_BITMAPS)
    else:
        query = _read_again(session, actor, filters, query, after, limit)
    rows = session.execute(query).all()
    load_ids = {row.load_order_id for row in rows if row.load_order_id is not None}
    totals = load_orders.totals(session, load_ids)
    return [ListedDelivery(**row_values(row), load_totals=totals.get(row.load_order_id)) for row in rows]


def _read_again(
    session: Session, actor: Actor, filters: Filters, query: Select[Any], after: Key | None, limit: int
) -> Select[Any]:
    """Search for ids outside row-level security (RLS), then read the rows found inside it.

    The RLS policy keeps `@@` from using its index.
    """
    ids: list[int] = []
    with row_security.outside(session):
        # Outdated rows first: a row whose words the job makes meanwhile is found by one of the two.
        if delivery_search_words.is_any_outdated(session, actor.company_id):
            former = _page_of(_without_words(actor, filters), filters, after, limit)
            ids += session.scalars(former.with_only_columns(Delivery.id))
        ids += session.scalars(query.with_only_columns(Delivery.id))
    found = select(*OWN).where(Delivery.id.in_(ids), visible_deliveries(actor))
    return _ordered(found, filters).limit(limit)


def _without_words(actor: Actor, filters: Filters) -> Select[Any]:
    """Select rows whose search words are outdated, by the search text of 0.1.0.

    A row that also has older words matches by either.
    """
    wanted = _former_query(actor.company_id, filters.text)
    query = _filtered(actor, filters).where(text(WORDS_OUTDATED))
    return query.where(false() if wanted is None else _matches(Delivery.search, func.lower(literal(wanted))))


def key_of(delivery: DeliveryRow, filters: Filters) -> Key:
    return Key(delivery.id, delivery.scheduled_at if filters.by_time else None)


def select_page(actor: Actor, filters: Filters, *, after: Key | None = None, limit: int = 50) -> Select[Any]:
    query = _filtered(actor, filters)
    if (wanted := search_words.query(filters.text, actor.company_id)) is not None:
        query = query.where(_matches(Delivery.search_words, literal(wanted)))
    return _page_of(query, filters, after, limit)


def _page_of(query: Select[Any], filters: Filters, after: Key | None, limit: int) -> Select[Any]:
    return _after(_ordered(query, filters), filters, after).limit(limit)


def _filtered(actor: Actor, filters: Filters) -> Select[Any]:
    """Apply every filter except the text."""
    query: Select[Any] = select(*OWN).where(visible_deliveries(actor))
    if filters.statuses:
        query = query.where(_one_of(filters.statuses))
    for column in (Delivery.driver_id, Delivery.vehicle_id, Delivery.customer_id):
        if (value := getattr(filters, column.key)) is not None:
            query = query.where(column == value)
    if filters.since is not None:
        query = query.where(Delivery.scheduled_at >= filters.since)
    if filters.until is not None:
        query = query.where(Delivery.scheduled_at < filters.until)
    return query


def _former_query(company_id: int, text: str | None) -> str | None:
    """Return the tsquery for `Delivery.search`, before PostgreSQL lowercases it; None without a word."""
    words = [word[: SEARCH_CUTS[-1]] for word in re.split(r"[\W_]+", text or "") if word]
    if not words:
        return None
    begun = [_begins(word) for word in words[: search_words.MAXIMUM_WORDS]]
    return " & ".join([f"'{SEARCH_MARK}{company_id}'", *begun])


def _begins(word: str) -> str:
    cut = max(length for length in SEARCH_CUTS if length <= len(word))
    return f"'{word}'" if cut == len(word) else f"'{word[:cut]}' & '{word}':*"


def _one_of(statuses: Sequence[Status]) -> ColumnElement[bool]:
    """Compare a single status by equality, which keeps the index's order."""
    return Delivery.status == statuses[0] if len(statuses) == 1 else Delivery.status.in_(statuses)


def _matches(words: InstrumentedAttribute[Any], text_query: ColumnElement[str]) -> ColumnElement[bool]:
    return words.op("@@", is_comparison=True)(cast(text_query, TSQUERY))


def _ordered(query: Select[Any], filters: Filters) -> Select[Any]:
    if filters.by_time:
        return query.order_by(Delivery.scheduled_at.desc(), Delivery.id.desc())
    return query.order_by(Delivery.id.desc())


def _after(query: Select[Any], filters: Filters, after: Key | None) -> Select[Any]:
    if after is None:
        return query
    if filters.by_time:
        return query.where(
            tuple_(Delivery.scheduled_at, Delivery.id)
            < tuple_(literal(after.scheduled_at), after.delivery_id)
        )
    return query.where(Delivery.id < after.delivery_id)
