"""The second fence between companies: in a person's transaction PostgreSQL shows that company's rows only.

The first are the conditions of `access.scoping` and `access.actors`; this one holds where they are forgotten:
row-level security for the role `ROLE`, which a transaction takes on together with its company
(`row_security_policies` makes the policies). The tables' owner stands outside: ingest, jobs, migrations,
log-in. It guards against our mistakes, not against foreign SQL: whoever can run ``RESET ROLE`` is the owner
again.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session, SessionTransaction

from core.database.engine import send_ahead

ROLE = "milepost_api"
SETTING = "app.company_id"
_INFO = "fenced_company_id"
_LEAVE = "SELECT set_config('role', 'none', true)"
_ENTER = f"SELECT set_config('{SETTING}', '%d', true), set_config('role', '{ROLE}', true)".encode()


def enter(session: Session, company_id: int) -> None:
    """From here on the session sees this company only: now, and in every later transaction of it.

    The role and the company end with the transaction, before its connection serves another. On a cooperative
    connection they go with the next statement, else in a round trip of their own.
    """
    has_begun = session.in_transaction()
    session.info[_INFO] = company_id
    connection = session.connection()  # fences itself if it begins only now
    if has_begun:
        _fence(connection, company_id)


@contextmanager
def outside(session: Session) -> Iterator[None]:
    """As the owner for a moment: for a table of nobody's, or a search that a policy keeps from its index.

    Under a policy an index serves none but leakproof operators (`=`, `<`): full text would scan the company.
    Such a search has the company's own condition and gives ids only, whose rows are read inside.
    """
    company_id = session.info.get(_INFO)
    if company_id is None:
        yield
        return
    connection = session.connection()
    connection.exec_driver_sql(_LEAVE)
    try:
        yield
    except BaseException:
        session.rollback()  # whatever follows begins inside
        raise
    _fence(connection, company_id)


@event.listens_for(Session, "after_begin")
def _fence_next(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    """A session that goes on after a commit or a rollback must not go on as the owner."""
    company_id = session.info.get(_INFO)
    if company_id is not None and not transaction.nested:
        _fence(connection, company_id)


def _fence(connection: Connection, company_id: int) -> None:
    send_ahead(connection, _ENTER % company_id)
