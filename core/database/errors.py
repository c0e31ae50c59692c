"""What PostgreSQL's errors mean."""

from sqlalchemy.exc import DBAPIError


def sqlstate(error: DBAPIError) -> str:
    """The five-character code, or ``""`` when the connection died before the server could say one."""
    return getattr(error.orig, "pgcode", None) or ""
