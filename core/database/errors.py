"""PostgreSQL error codes."""

from sqlalchemy.exc import DBAPIError


def sqlstate(error: DBAPIError) -> str:
    """Return the five-character SQLSTATE, or ``""`` if the connection was lost before the server sent one."""
    return getattr(error.orig, "pgcode", None) or ""
