"""Further sessions on the database of a test's own session."""

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from core.database.engine import make_sessions


def another_session(session: Session) -> Session:
    """Return a session with a connection of its own, made as the services make theirs."""
    engine = session.get_bind()
    assert isinstance(engine, Engine)
    return make_sessions(engine)()
