"""Row-level security (RLS), the second layer of tenant isolation: API transactions see one tenant's rows.

The first layer is the conditions of `access.scoping` and `access.actors`; RLS applies where a query lacks
them. Its policies (`row_security_policies`) hold for the role `ROLE`, which a transaction takes on together
with its tenant. The tables' owner bypasses them: ingest, jobs, migrations, log-in. RLS guards against
programming errors, not against injected SQL: ``RESET ROLE`` makes the session the owner again.
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
    """Restrict this session to one tenant, in the present transaction and in all later ones.

    The role and the tenant are reset at the end of a transaction, before its connection serves another one. A
    cooperative connection sends them with the next statement, any other in a round trip of their own.
    """
    has_begun = session.in_transaction()
    session.info[_INFO] = company_id
    connection = session.connection()  # `_fence_next` sets the role if the transaction begins only here
    if has_begun:
        _fence(connection, company_id)


@contextmanager
def outside(session: Session) -> Iterator[None]:
    """Bypass RLS within the block: for a table without a tenant, or a search that needs an index.

    Under a policy an index serves leakproof operators (`=`, `<`) only, so that a full-text search would scan
    all rows of the tenant. Such a search must have the tenant's condition itself and return ids only; the
    rows are then read under the policy.
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
        session.rollback()  # the next transaction is restricted again
        raise
    _fence(connection, company_id)


@event.listens_for(Session, "after_begin")
def _fence_next(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    """Set the role and the tenant for each transaction of a restricted session."""
    # Otherwise a session that continues after a commit or a rollback would continue as the owner.
    company_id = session.info.get(_INFO)
    if company_id is not None and not transaction.nested:
        _fence(connection, company_id)


def _fence(connection: Connection, company_id: int) -> None:
    send_ahead(connection, _ENTER % company_id)
