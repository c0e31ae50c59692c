"""PostgreSQL's error codes, and whose fault an error is: one table for the API, ingest and the CLI."""

import enum

import psycopg2
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

INSUFFICIENT_PRIVILEGE = "42501"
LOCK_NOT_AVAILABLE = "55P03"
CHECK_VIOLATION = "23514"  # also raised for a row whose partition is missing
# A prepared statement (`database.prepared`) that the server no longer has, or whose tables have changed.
OUTDATED = frozenset({"26000", "0A000"})
_NOT_MIGRATED = frozenset({"42P01", "42703"})  # undefined table, undefined column
_CONTENTION = frozenset({"40001", "40P01", LOCK_NOT_AVAILABLE})
_UNAVAILABLE = (psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.InternalError)


class DatabaseFault(enum.Enum):
    """The cause of a database error. Only `VALUE` and `CONFLICT` are the fault of the client or message."""

    VALUE = enum.auto()  # the database refuses a value
    CONFLICT = enum.auto()  # a constraint refuses the row
    MISSING_PARTITION = enum.auto()
    TRANSIENT = enum.auto()  # contention or a lost connection: a retry may succeed at once
    NOT_MIGRATED = enum.auto()
    AWAY = enum.auto()  # unreachable, full, or short of connections: a retry may succeed later
    OURS = enum.auto()  # a bug


def classify(error: BaseException) -> DatabaseFault:
    """Return whose fault an error of SQLAlchemy or psycopg2 is."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = sqlstate(error)
    if code == CHECK_VIOLATION and "no partition" in str(cause):
        return DatabaseFault.MISSING_PARTITION
    if code.startswith("22"):
        return DatabaseFault.VALUE
    if code.startswith("23"):
        return DatabaseFault.CONFLICT
    if code in _CONTENTION or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return DatabaseFault.TRANSIENT
    if code in _NOT_MIGRATED:
        return DatabaseFault.NOT_MIGRATED
    if code in OUTDATED or isinstance(cause, (*_UNAVAILABLE, PoolTimeout)):
        return DatabaseFault.AWAY
    return DatabaseFault.OURS


def sqlstate(error: BaseException) -> str:
    """Return the five-character SQLSTATE, or ``""`` if the connection was lost before the server sent one."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return getattr(cause, "pgcode", None) or ""


def is_connection_lost(error: DBAPIError | psycopg2.Error) -> bool:
    """Return whether the server is gone, rather than refusing our statement."""
    return not sqlstate(error) or (isinstance(error, DBAPIError) and error.connection_invalidated)


def class_and_sqlstate(error: BaseException) -> str:
    """Return the class of an error and its SQLSTATE, as ``DiskFull 53100``; never a row's value."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return f"{type(cause).__name__} {sqlstate(error)}".rstrip()
