"""What e-mail and webhook senders share: the claim before an attempt, and the record of its outcome."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.backoff import Backoff

log = logging.getLogger(__name__)

TRIES = 8
# Of a claim's lease of two minutes the attempt itself may take 45 s. A claim older than this (the process was
# frozen) belongs to another sender by now or soon will: no attempt is made.
CLAIM_IS_FRESH_S = 60.0
ClaimT = TypeVar("ClaimT")
ResultT = TypeVar("ResultT")


class Recorder:
    """Commits claims and outcomes. An attempt that cannot be recorded is repeated after its lease."""

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

    def claim(self, claim: Callable[[Session], ClaimT | None]) -> ClaimT | None:
        """Run ``claim`` in a transaction of its own; return None at a stop, or if the claim is too old."""
        if self.is_stopping:
            return None
        began = time.monotonic()
        with self._sessions.begin() as session:
            claimed = claim(session)
        if claimed is not None and time.monotonic() - began > CLAIM_IS_FRESH_S:
            log.warning("attempt_not_begun reason='its sender was held up; it is made again after its lease'")
            return None
        return claimed

    def record(self, write: Callable[[Session], ResultT]) -> ResultT:
        """Run ``write`` in a transaction of its own, with retries. Raises the last error."""
        backoff = Backoff(limit_s=5.0)
        left = TRIES
        while True:
            try:
                with self._sessions.begin() as session:
                    return write(session)
            except SQLAlchemyError as error:
                left -= 1
                if left == 0 or self.is_stopping:
                    raise
                log.warning("attempt_not_recorded reason=%r", str(error))
                self._stop.wait(backoff.next())
