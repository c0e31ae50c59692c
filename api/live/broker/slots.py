"""Claim one of the API's broker users for this process.

A second connection with the same user would take over the first one's session. Each process therefore claims
a user with a PostgreSQL advisory lock, which ends with the database connection that holds it.
"""

import threading

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from core.database import locks
from core.database.engine import make_engine
from core.database.locks import LockClass
from core.identities import API_SLOTS
from core.settings import Settings


class NoFreeSlot(Exception):
    """Raised when there are more API processes than broker users."""

    def __init__(self) -> None:
        super().__init__(f"all {API_SLOTS} broker users of the API are taken: run fewer API processes")


class Claim:
    """A slot, held as long as its database connection lives. Blocking: use it in a worker thread."""

    def __init__(self, engine: Engine, connection: Connection, slot: int) -> None:
        self.slot = slot
        self._engine = engine
        self._connection = connection
        self._lock = threading.Lock()

    def holds(self) -> bool:
        """Return False once the connection, and with it the lock, is lost."""
        try:
            with self._lock:
                self._connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            return False
        return True

    def release(self) -> None:
        # Invalidated, not returned: a pooled connection would keep its advisory lock.
        with self._lock:
            self._connection.invalidate()
            self._engine.dispose()


def claim(settings: Settings) -> Claim:
    """Claim the first free slot. Raises `NoFreeSlot`, or `SQLAlchemyError` when the database is away."""
    engine = make_engine(settings, process="api-slot", pool_size=1, overflow=0)
    try:
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        for slot in range(API_SLOTS):
            if connection.scalar(locks.TRY_PAIR, {"lock": LockClass.API_SLOT, "item": slot}):
                return Claim(engine, connection, slot)
        raise NoFreeSlot
    except BaseException:
        engine.dispose()
        raise
