"""One webhook call: a signed POST, and its outcome. No redirects, no proxies, no response body.

The signature of a call is ``t=<unix seconds>,v1=<hex HMAC-SHA256 of "<t>.<body>">``, with a second ``v1``
made with the previous secret for a day after a rotation.
"""

import hashlib
import hmac
import ssl
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import httpcore
import msgspec

from core.notifications.attempts import AttemptOutcome
from core.notifications.claims import Claimed
from core.notifications.webhooks.contract import ATTEMPT, EVENT_ID, EVENT_TYPE, SIGNATURE, WebhookBody
from core.settings.outgoing import Networks
from jobs.sender.webhooks.ssrf_guard import AddressRefused, CheckedNetwork, NameRefused, Resolve, addresses_of

TOTAL_TIMEOUT_S = 10.0
_AGENT = "Milepost-Webhooks/1"
_encode = msgspec.json.Encoder().encode


def body_of(claimed: Claimed, company: str) -> bytes:
    """Return the body, the same for every attempt. ``sequence`` grows with each event of one delivery."""
    facts = dict(claimed.payload)
    return _encode(
        WebhookBody(
            id=claimed.event_id,
            type=claimed.event,
            sequence=claimed.sequence,
            occurred_at=facts.pop("occurred_at", None),
            company=company,
            data=facts,
        )
    )


def headers_of(claimed: Claimed, body: bytes, secrets: Sequence[str], now: datetime) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "User-Agent": _AGENT,
        EVENT_ID: str(claimed.event_id),
        EVENT_TYPE: claimed.event,
        ATTEMPT: str(claimed.number),
        SIGNATURE: signature(secrets, int(now.timestamp()), body),
        "Connection": "close",
    }


def signature(secrets: Sequence[str], at: int, body: bytes) -> str:
    """Return the signature header's value; ``at`` is in Unix seconds."""
    signed = f"{at}.".encode() + body
    marks = [f"v1={hmac.new(key.encode(), signed, hashlib.sha256).hexdigest()}" for key in secrets]
    return ",".join([f"t={at}", *marks])


class Caller:
    """``total_s`` bounds a whole call. ``resolve`` and ``tls`` are for tests."""

    def __init__(
        self,
        allowed: Networks,
        *,
        total_s: float = TOTAL_TIMEOUT_S,
        resolve: Resolve = addresses_of,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed = allowed
        self._total_s = total_s
        self._resolve = resolve
        self._tls = tls or ssl.create_default_context()
        self._under_way: set[CheckedNetwork] = set()

    def post(self, url: str, body: bytes, headers: dict[str, str]) -> AttemptOutcome:
        """Send a POST and return its outcome. Never raises for a failure of the receiver."""
        began = time.monotonic()
        is_plain = urlsplit(url).scheme == "http"
        network = CheckedNetwork(self._allowed, self._resolve, began + self._total_s, is_plain=is_plain)
        self._under_way.add(network)
        try:
            code, error = self._send(network, url, body, headers)
        except NameRefused as refused:
            # Without the duration, because the look-up's time would reveal the reason.
            return AttemptOutcome(error=str(refused))
        finally:
            self._under_way.discard(network)
        return AttemptOutcome(code=code, error=error, duration_ms=round((time.monotonic() - began) * 1000))

    def cut_all(self) -> None:
        for network in list(self._under_way):
            network.cut()

    def _send(
        self, network: CheckedNetwork, url: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int | None, str | None]:
        pool = httpcore.ConnectionPool(ssl_context=self._tls, network_backend=network)
        try:
            with pool, pool.stream("POST", url, headers=list(headers.items()), content=body) as response:
                code: int = response.status
        except NameRefused:
            raise
        except AddressRefused as refused:
            return None, str(refused)
        except (httpcore.TimeoutException, TimeoutError) as error:
            return None, f"timed out: {_words(error)}"
        except (httpcore.NetworkError, OSError) as error:
            return None, f"no connection: {_words(error)}"
        except (httpcore.ProtocolError, httpcore.UnsupportedProtocol, ValueError) as error:
            return None, f"no HTTP: {_words(error)}"
        if 200 <= code < 300:
            return code, None
        return code, f"HTTP status {code}" + (": redirects are not followed" if 300 <= code < 400 else "")


def _words(error: Any) -> str:
    return " ".join(str(error).split()) or type(error).__name__
