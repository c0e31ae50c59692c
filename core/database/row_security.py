"""Row-level security (RLS), the second layer of tenant isolation: API transactions see one tenant's rows.

The first layer is the conditions of `access.scoping` and `access.actors`; RLS applies where a query lacks
them. Its policies (`row_security_policies`) hold for the role `ROLE`, which a transaction takes on together
with its tenant. The tables' owner bypasses them: ingest, jobs, migrations, log-in. RLS guards against
programming errors, not against injected SQL: ``RESET ROLE`` makes the session the owner again.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session, SessionTransaction, sessionmaker

ROLE = "milepost_api"
SETTING = "app.company_id"
_COMPANY = "restricted_to_company_id"
_WATCHED = "is_restricted_after_begin"
_LEAVE = "SELECT set_config('role', 'none', true)"
_ENTER = f"SELECT set_config('{SETTING}', '%d', true), set_config('role', '{ROLE}', true)"


def entering(company_id: str) -> str:
    """Return SQL columns that place the transaction under the tenant of the row they are selected with.

    ``company_id`` is the SQL of that row's tenant. Call `entered` with the tenant's id afterwards.
    """
    return f"set_config('{SETTING}', ({company_id})::text, true), set_config('role', '{ROLE}', true)"


def entered(session: Session, company_id: int) -> None:
    """Restrict the session's later transactions, after a statement with `entering` did so in this one."""
    if _WATCHED not in session.info:
        raise RuntimeError("only a session of `engine.make_sessions` stays restricted after a commit")
    session.info[_COMPANY] = company_id


def enter(session: Session, company_id: int) -> None:
    """Restrict this session to one tenant, in the present transaction and in all later ones.

    The role and the tenant are reset at the end of a transaction, before its connection serves another one.
    """
    connection = session.connection()
    entered(session, company_id)
    connection.exec_driver_sql(_ENTER % company_id)


@contextmanager
def outside(session: Session) -> Iterator[None]:
    """Bypass RLS within the block: for a table without a tenant, or a search that needs an index.

    Under a policy an index serves leakproof operators (`=`, `<`) only, so that a full-text search would scan
    all rows of the tenant. Such a search must have the tenant's condition itself and return ids only; the
    rows are then read under the policy.
    """
    company_id = session.info.get(_COMPANY)
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
    connection.exec_driver_sql(_ENTER % company_id)


def watch(sessions: sessionmaker[Session]) -> None:
    """Restrict every later transaction of a session of this factory, once it has entered a tenant."""
    # Otherwise a session that continues after a commit or a rollback would continue as the owner.
    sessions.configure(info={_WATCHED: True})
    event.listen(sessions, "after_begin", _restrict)


def _restrict(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    company_id = session.info.get(_COMPANY)
    if company_id is not None and not transaction.nested:
        connection.exec_driver_sql(_ENTER % company_id)
