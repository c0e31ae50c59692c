"""Log states when they begin, change or end, instead of at every attempt that meets them."""

import logging
import re
import threading

_VARYING = re.compile(r"\d+")  # queue ids, ports and times: another number is not another reason


class LoggedStates:
    """The states already logged. Shared by the sender's threads."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._reasons: dict[str, str] = {}

    def begins(self, state: str, reason: str) -> None:
        """Log ``state`` as a warning, unless it is already logged for the same reason."""
        shape = _VARYING.sub("#", reason)
        with self._lock:
            is_known = self._reasons.get(state) == shape
            self._reasons[state] = shape
        if not is_known:
            self._log.warning("%s reason=%r", state, reason)

    def ends(self, state: str) -> None:
        with self._lock:
            was_so = self._reasons.pop(state, None) is not None
        if was_so:
            self._log.info("%s is_over=true", state)
