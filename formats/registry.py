"""The registry of decoders by format, which is the last level of a device's topic."""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime

from core.rules.fix import Fix, Rejection
from formats import native

Decoder = Callable[[bytes, str, datetime], list[Fix | Rejection]]

DECODERS: Mapping[str, Decoder] = {"location": native.decode}
STATUS = "status"

log = logging.getLogger(__name__)


def decode(format_name: str, payload: bytes, device_id: str, now: datetime) -> list[Fix | Rejection]:
    """Return the items of one message; the format of a topic that is not ours is "". No payload raises."""
    if not format_name:
        return [Rejection(reason="bad_topic", detail="the topic is not up/{shard}/{device}/{format}")]
    decoder = DECODERS.get(format_name)
    if decoder is None:
        return [Rejection(reason="unknown_format", detail="the topic's last level names no format we know")]
    try:
        return decoder(payload, device_id, now)
    except Exception:
        log.exception("decoder_failed format=%s device=%s bytes=%d", format_name, device_id, len(payload))
        return [Rejection(reason="decoder_failed", detail="the decoder failed; this is our fault")]
