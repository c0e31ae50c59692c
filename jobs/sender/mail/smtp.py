"""A session with the SMTP server. However slowly the server answers, no wait exceeds `TOTAL_TIMEOUT_S`."""

import contextlib
import re
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from email.message import EmailMessage
from email.utils import parseaddr
from types import TracebackType
from typing import Self

from core.notifications.attempts import AttemptOutcome
from core.settings.outgoing import OutgoingSettings

TIMEOUT_S = 15.0
TOTAL_TIMEOUT_S = 45.0  # less than the lease of the message being sent
_TOO_LARGE = 552
_CLOSING = 421


class ServerAway(Exception):
    """The server is unreachable, or accepts no message at present; the error's text says why."""


class SmtpSession:
    """A connection for one thread, opened on entry, for as many messages as the server accepts."""

    def __init__(self, settings: OutgoingSettings, tls: ssl.SSLContext | None = None) -> None:
        self._settings = settings
        self._tls = tls or ssl.create_default_context()
        self._client: smtplib.SMTP | None = None

    def __enter__(self) -> Self:
        try:
            with self._bounded():
                self._open()
        except (OSError, smtplib.SMTPException) as error:
            self.__exit__(None, None, None)
            raise ServerAway(f"the SMTP server cannot be used: {_error_text(error, '')}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                client.close()

    def send(self, message: EmailMessage) -> AttemptOutcome:
        """Send a message; return the server's answer. Raises `ServerAway` on an unusable connection."""
        began = time.monotonic()
        recipient = message["To"].addresses[0].addr_spec
        try:
            with self._bounded():
                code, error, is_final = self._try(message, recipient)
        except (OSError, smtplib.SMTPServerDisconnected) as lost:
            raise ServerAway(f"the SMTP server went away: {_error_text(lost, recipient)}") from lost
        return AttemptOutcome(code, error, is_final, duration_ms=round((time.monotonic() - began) * 1000))

    def cut(self) -> None:
        """Abort the operation under way, from another thread."""
        client = self._client
        connected = getattr(client, "sock", None)
        if isinstance(connected, socket.socket):
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def _open(self) -> None:
        host, port = self._settings.smtp_host or "", self._settings.smtp_port_used
        # Without our own host name smtplib looks one up, which may take any time.
        ours = parseaddr(self._settings.smtp_from or "")[1].rpartition("@")[2]
        if self._settings.smtp_tls == "tls":
            self._client = smtplib.SMTP_SSL(local_hostname=ours, timeout=TIMEOUT_S, context=self._tls)
        else:
            self._client = smtplib.SMTP(local_hostname=ours, timeout=TIMEOUT_S)
        self._client._host = host  # type: ignore[attr-defined]  # what TLS verifies; only __init__ sets it
        code, reply = self._client.connect(host, port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, reply)
        if self._settings.smtp_tls == "starttls":
            self._client.starttls(context=self._tls)
        if self._settings.smtp_user is not None and self._settings.smtp_password is not None:
            self._client.login(self._settings.smtp_user, self._settings.smtp_password.get_secret_value())
        else:
            self._client.ehlo_or_helo_if_needed()

    def _try(self, message: EmailMessage, recipient: str) -> tuple[int | None, str | None, bool]:
        assert self._client is not None
        try:
            self._client.send_message(message, to_addrs=[recipient])
        except smtplib.SMTPRecipientsRefused as refused:
            ((code, reply),) = refused.recipients.values()
            return self._refused(code, _reply_text(code, reply, recipient), is_final=code >= 500)
        except smtplib.SMTPSenderRefused as refused:
            # The server refuses our own address or its use: not this message's fault, unless it is too large.
            is_final = refused.smtp_code == _TOO_LARGE
            return self._refused(refused.smtp_code, _error_text(refused, recipient), is_final=is_final)
        except smtplib.SMTPServerDisconnected:
            raise
        except smtplib.SMTPResponseException as refused:
            is_final = refused.smtp_code >= 500
            return self._refused(refused.smtp_code, _error_text(refused, recipient), is_final=is_final)
        except smtplib.SMTPNotSupportedError:
            return None, "the SMTP server takes no address outside ASCII", True
        return 250, None, False

    def _refused(self, code: int, reply: str, *, is_final: bool) -> tuple[int, str, bool]:
        if code == _CLOSING:
            raise smtplib.SMTPServerDisconnected(reply)
        return code, reply, is_final

    @contextlib.contextmanager
    def _bounded(self) -> Iterator[None]:
        """Bound an operation as a whole: smtplib bounds single reads, so a dripping server could block us."""
        timer = threading.Timer(TOTAL_TIMEOUT_S, self.cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _error_text(error: Exception, recipient: str) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return _reply_text(error.smtp_code, error.smtp_error, recipient)
    return _without(" ".join(str(error).split()) or type(error).__name__, recipient)


def _reply_text(code: int, reply: bytes | str, recipient: str) -> str:
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    return _without(f"{code} {' '.join(text.split())}", recipient)


def _without(text: str, recipient: str) -> str:
    """Remove the address from a server's answer: it is personal data, and errors are stored and logged."""
    text = text.replace("\0", "")
    for part in (recipient, recipient.rpartition("@")[0]):
        if part:
            text = re.sub(rf"(?<!\w){re.escape(part)}(?!\w)", "…", text, flags=re.IGNORECASE)
    return text
