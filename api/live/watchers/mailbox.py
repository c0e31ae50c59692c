"""The outgoing events of one socket, bounded whatever the client does, and the task that writes them.

Invariants: the snapshot comes first; then at most one location (the latest wins), statuses in checkpoint
order up to a limit of bytes, and one ping, pong and error each. After `close` nothing more is returned.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

from sqlalchemy.exc import SQLAlchemyError
from starlette.websockets import WebSocket, WebSocketDisconnect

from api.live import close_codes
from api.live.events import PING, LivePosition, LocationEvent, StatusEvent
from api.live.metrics import LiveMetrics
from core.errors import NotFound

MAXIMUM_BYTES = 256 * 1024
PING_INTERVAL_S = 20.0
SEND_TIMEOUT_S = 10.0

log = logging.getLogger(__name__)


class Mailbox:
    """Filled by `fan_out`, drained by the socket's own task (`write`); all on the event loop's thread."""

    def __init__(
        self, metrics: LiveMetrics, *, is_customer: bool, maximum_bytes: int = MAXIMUM_BYTES
    ) -> None:
        self.closed = asyncio.Event()
        self.close_code = 0
        self.metrics = metrics
        self._is_customer = is_customer
        self._maximum_bytes = maximum_bytes
        self._ready = asyncio.Event()
        self._last_checkpoint = 0
        self._last_seen: LivePosition | None = None
        self._first: deque[str] = deque()
        self._answers: dict[str, str] = {}
        self._statuses: deque[tuple[int, str]] = deque()
        self._status_bytes = 0
        self._location: LocationEvent | None = None

    def offer_status(self, event: StatusEvent) -> None:
        """Queue the event unless the socket has had it; close a socket with too many unsent bytes."""
        text = event.for_customer if self._is_customer else event.for_staff
        if text is None or event.checkpoint_id <= self._last_checkpoint or self.closed.is_set():
            return
        if self._status_bytes + len(text) > self._maximum_bytes:
            self.close(close_codes.TOO_SLOW)
            return
        self._last_checkpoint = event.checkpoint_id
        self._statuses.append((event.checkpoint_id, text))
        self._status_bytes += len(text)
        self._ready.set()

    def offer_location(self, event: LocationEvent) -> None:
        """Replace an unsent older location."""
        if not event.seen.is_after(self._last_seen):
            return
        if self._location is not None:
            self.metrics.conflated.inc()
        self._last_seen = event.seen
        self._location = event
        self._ready.set()

    def offer_answer(self, kind: str, text: str) -> None:
        """Queue a pong or an error; a flood of client messages gets one answer."""
        self._answers[kind] = text
        self._ready.set()

    def drop_location(self) -> None:
        """Drop the unsent location: once a delivery has ended, its viewers may not see the vehicle."""
        self._location = None

    def put_first(self, texts: Iterable[str]) -> None:
        """Queue the snapshot's texts before everything else."""
        self._first.extend(texts)
        self._ready.set()

    def skip_to(self, checkpoint_id: int, seen: LivePosition | None) -> None:
        """Drop events that the socket's snapshot already contains; keep later ones."""
        while self._statuses and self._statuses[0][0] <= checkpoint_id:
            self._status_bytes -= len(self._statuses.popleft()[1])
        self._last_checkpoint = max(self._last_checkpoint, checkpoint_id)
        waiting = self._location.seen if self._location else None
        if seen is None or (waiting and waiting.vehicle == seen.vehicle and waiting.fix_time > seen.fix_time):
            return
        self._last_seen = seen
        self._location = None

    def close(self, code: int) -> None:
        """Close the mailbox; the first code wins."""
        if not self.closed.is_set():
            self.close_code = code
            self.closed.set()
            self._ready.set()

    async def next(self) -> str | None:
        """Wait for the next text to send: a ping when there is nothing else for long; None once closed."""
        while not self.closed.is_set():
            if (text := self._take()) is not None:
                return text
            self._ready.clear()
            try:
                async with asyncio.timeout(PING_INTERVAL_S):
                    await self._ready.wait()
            except TimeoutError:
                return PING
        return None

    def _take(self) -> str | None:
        if self._first:
            return self._first.popleft()
        if self._answers:
            return self._answers.pop(next(iter(self._answers)))
        if self._statuses:
            text = self._statuses.popleft()[1]
            self._status_bytes -= len(text)
            return text
        if self._location is not None:
            location, self._location = self._location, None
            return location.text
        return None


async def write(
    mailbox: Mailbox, websocket: WebSocket, snapshot: Callable[[], Awaitable[Iterable[str]]], delivery: int
) -> None:
    """Send the snapshot, then whatever reaches the mailbox; every failure ends as a close of the socket."""
    try:
        mailbox.put_first(await snapshot())
        while (text := await mailbox.next()) is not None:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await websocket.send_text(text)
            mailbox.metrics.sent.inc()
    except TimeoutError:
        mailbox.close(close_codes.TOO_SLOW)
    except NotFound:
        mailbox.close(close_codes.NOT_FOUND)
    except SQLAlchemyError as error:
        log.warning("the database did not answer delivery=%d error=%s", delivery, error)
        mailbox.close(close_codes.TRY_AGAIN_LATER)
    except (WebSocketDisconnect, RuntimeError):
        # Starlette and uvicorn raise RuntimeError when the socket was closed while sending.
        mailbox.close(close_codes.GONE)
    except Exception:
        log.exception("sending failed delivery=%d", delivery)
        mailbox.close(close_codes.TRY_AGAIN_LATER)
