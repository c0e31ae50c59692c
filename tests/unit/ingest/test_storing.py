"""Whose fault a database error is: only a message's own fault quarantines it."""

from typing import Any, cast

import pytest
from sqlalchemy.exc import DBAPIError

from ingest.storing import DatabaseAway, MessageFault, _require_retryable

SESSIONS = cast(Any, None)  # only a missing partition needs them


class Refusal(Exception):
    """What psycopg2 raises, as far as it is read."""

    def __init__(self, pgcode: str) -> None:
        super().__init__("refused by the test")
        self.pgcode = pgcode


def error(code: str) -> DBAPIError:
    return DBAPIError("INSERT", {}, Refusal(code))


@pytest.mark.parametrize("code", ["22001", "22P02", "23502", "23505", "23514"])
def test_bad_content_is_the_messages_fault(code: str) -> None:
    with pytest.raises(MessageFault, match=code):
        _require_retryable(SESSIONS, error(code), last=False)


# A full disk or memory, read-only, no table, no right, stopped, and a lost connection.
@pytest.mark.parametrize("code", ["53100", "53200", "53300", "25006", "42P01", "42501", "57P01", "58030", ""])
def test_what_no_message_caused_is_the_databases_fault(code: str) -> None:
    with pytest.raises(DatabaseAway):
        _require_retryable(SESSIONS, error(code), last=False)


@pytest.mark.parametrize("code", ["40001", "40P01", "55P03"])
def test_contention_is_retried_and_then_the_databases_fault(code: str) -> None:
    _require_retryable(SESSIONS, error(code), last=False)
    with pytest.raises(DatabaseAway):
        _require_retryable(SESSIONS, error(code), last=True)
