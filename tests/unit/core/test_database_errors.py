"""Whose fault a database error is, by its SQLSTATE."""

from typing import Any

import psycopg2
import pytest
from psycopg2 import errors
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from core.database.errors import DatabaseFault, class_and_sqlstate, classify, is_connection_lost, sqlstate

NO_PARTITION = 'no partition of relation "position" found for row'


def raised(code: str, message: str = "x", *, is_lost: bool = False) -> DBAPIError:
    """Return the error that SQLAlchemy raises for an SQLSTATE."""
    return DBAPIError("SELECT 1", {}, driver_error(code, message), connection_invalidated=is_lost)


def driver_error(code: str, message: str = "x") -> psycopg2.Error:
    error: Any = errors.lookup(code)(message)
    error.__setstate__({"pgcode": code})
    return error  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("22001", DatabaseFault.VALUE),
        ("22003", DatabaseFault.VALUE),
        ("22021", DatabaseFault.VALUE),
        ("22P05", DatabaseFault.VALUE),
        ("23502", DatabaseFault.CONFLICT),
        ("23503", DatabaseFault.CONFLICT),
        ("23505", DatabaseFault.CONFLICT),
        ("23514", DatabaseFault.CONFLICT),
        ("23P01", DatabaseFault.CONFLICT),
        ("40001", DatabaseFault.TRANSIENT),
        ("40P01", DatabaseFault.TRANSIENT),
        ("55P03", DatabaseFault.TRANSIENT),
        ("42P01", DatabaseFault.NOT_MIGRATED),
        ("42703", DatabaseFault.NOT_MIGRATED),
        ("0A000", DatabaseFault.AWAY),
        ("25006", DatabaseFault.AWAY),
        ("26000", DatabaseFault.AWAY),
        ("53100", DatabaseFault.AWAY),
        ("53300", DatabaseFault.AWAY),
        ("57014", DatabaseFault.AWAY),
        ("57P01", DatabaseFault.AWAY),
        ("57P03", DatabaseFault.AWAY),
        ("08006", DatabaseFault.AWAY),
        ("58030", DatabaseFault.AWAY),
        ("XX000", DatabaseFault.AWAY),
        ("42601", DatabaseFault.OURS),
        ("42501", DatabaseFault.OURS),
        ("42883", DatabaseFault.OURS),
    ],
)
def test_sqlstate_decides_whose_fault_an_error_is(code: str, fault: DatabaseFault) -> None:
    assert classify(raised(code)) is fault
    assert classify(driver_error(code)) is fault
    assert sqlstate(raised(code)) == sqlstate(driver_error(code)) == code


def test_missing_partition_is_no_fault_of_the_message() -> None:
    assert classify(raised("23514", NO_PARTITION)) is DatabaseFault.MISSING_PARTITION


def test_lost_connection_is_worth_a_retry() -> None:
    assert classify(raised("57P01", is_lost=True)) is DatabaseFault.TRANSIENT
    assert classify(raised("26000", is_lost=True)) is DatabaseFault.TRANSIENT
    assert classify(DBAPIError("SELECT 1", {}, psycopg2.OperationalError("refused"))) is DatabaseFault.AWAY
    assert classify(psycopg2.InterfaceError("connection already closed")) is DatabaseFault.AWAY


def test_full_pool_is_away_and_other_errors_are_ours() -> None:
    assert classify(PoolTimeout("full")) is DatabaseFault.AWAY
    assert classify(psycopg2.ProgrammingError("no results to fetch")) is DatabaseFault.OURS
    assert classify(ValueError("x")) is DatabaseFault.OURS


def test_server_is_gone_without_a_sqlstate_or_with_its_connection() -> None:
    assert is_connection_lost(psycopg2.OperationalError("refused"))
    assert is_connection_lost(raised("57P01", is_lost=True))
    assert not is_connection_lost(raised("42601"))
    assert not is_connection_lost(driver_error("53100"))


def test_class_and_sqlstate_hold_no_value_of_a_row() -> None:
    assert class_and_sqlstate(raised("53100", "secret")) == "DiskFull 53100"
    assert class_and_sqlstate(ValueError("secret")) == "ValueError"
