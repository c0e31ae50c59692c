"""What e-mail and webhook senders share: the stop, and the record of each attempt's outcome."""

import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.backoff import Backoff

log = logging.getLogger(__name__)

TRIES = 8
# Of a claim's lease of two minutes the attempt itself may take 45 s. A claim older than this (the process was
# frozen) belongs to another sender by now or soon will: no attempt is made.
CLAIM_IS_FRESH_S = 60.0


class Recorder:
    """Records outcomes. An attempt that cannot be recorded is repeated after its lease: at least once."""

    def __init__(
        self,
        sessions: sessionmaker[Session],
        stop: threading.Event,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        self._sessions = sessions
        self._stop = stop
        self._is_over = is_over

    @property
    def is_stopping(self) -> bool:
        return self._stop.is_set() or self._is_over()

    def keep(self, write: Callable[[Session], None]) -> None:
        """Run ``write`` in a transaction of its own, with retries. Raises the last error."""
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


def is_held_up(claimed_at: float) -> bool:
    """Return whether a claim, made after the monotonic time ``claimed_at``, is too old to act on."""
    if time.monotonic() - claimed_at <= CLAIM_IS_FRESH_S:
        return False
    log.warning("attempt_not_begun reason='its sender was held up; it is made again after its lease'")
    return True
