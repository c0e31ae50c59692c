"""Writing down what became of an attempt, also while the database restarts."""

import logging
import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.backoff import Backoff

log = logging.getLogger(__name__)

TRIES = 8


class Recorder:
    """What cannot be written in the end is sent again after its lease: twice rather than never."""

    def __init__(self, sessions: sessionmaker[Session], stop: threading.Event) -> None:
        self._sessions = sessions
        self._stop = stop

    @property
    def is_stopping(self) -> bool:
        return self._stop.is_set()

    def keep(self, write: Callable[[Session], None]) -> None:
        """``write`` in a transaction of its own, tried again for a while. Raises the last error."""
        backoff = Backoff(limit_s=5.0)
        for left in reversed(range(TRIES)):
            try:
                with self._sessions.begin() as session:
                    write(session)
                return
            except SQLAlchemyError as error:
                if left == 0 or self.is_stopping:
                    raise
                log.warning("attempt_not_recorded reason=%r", str(error))
                self._stop.wait(backoff.next())
