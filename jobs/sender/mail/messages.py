"""Compose e-mail messages: notifications, and links to set a password."""

import re
from datetime import UTC, datetime
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr

from core.accounts.links import OwedLink
from core.notifications.claims import Claimed
from core.notifications.content.texts import Texts
from core.rules.text import emails

_POLICY = policy.SMTP.clone(max_line_length=78)
_LONGEST_NAME = 100
# Python's e-mail policy decodes encoded words in its input, line breaks included.
_ENCODED_WORD = re.compile(r"=(?=\?)")
_RESET = """Hello,

We were asked for a link to set a new password for {email}.
If that was you, open it before {until} (UTC):

{url}

If it was not you, there is nothing to do: your password stays as it is.
"""


BAD_ADDRESS = "the e-mail address cannot be used: correct it, then send this again"


class UnusableRecipient(Exception):
    """No e-mail can be delivered to this address, now or ever."""


def of_notification(claimed: Claimed, texts: Texts, company: str, sender: str) -> EmailMessage:
    """Compose a notification, from the company by our address. Raises `UnusableRecipient`."""
    # The Message-ID is the same for every attempt.
    address = _address(parseaddr(sender)[1])
    message = _message(texts.subject, texts.text, claimed.recipient or "", claimed.created_at)
    message["From"] = _named(company, address)
    message["Message-ID"] = f"<{claimed.sequence}.{claimed.event_id.hex}@{address.domain}>"
    message["X-Milepost-Event"] = claimed.event
    if texts.html is not None:
        message.add_alternative(texts.html, subtype="html")
    return message


def of_link(owed: OwedLink, public_url: str, sender: str, now: datetime) -> EmailMessage:
    """Compose the e-mail with a password link. Raises `UnusableRecipient`."""
    # The token is in the fragment (``#``), which no browser sends to any server.
    name, address = parseaddr(sender)
    until = owed.link.expires_at.astimezone(UTC)
    url = f"{public_url}/set-password#token={owed.link.token}"
    text = _RESET.format(email=owed.email, until=f"{until:%Y-%m-%d %H:%M}", url=url)
    message = _message("Set a new password", text, owed.email, now)
    message["From"] = _named(name, _address(address))
    message["Message-ID"] = f"<link-{owed.link_id}-{owed.attempt}@{_address(address).domain}>"
    return message


def _message(subject: str, text: str, recipient: str, at: datetime) -> EmailMessage:
    message = EmailMessage(policy=_POLICY)
    message["Subject"] = _ENCODED_WORD.sub("= ", subject)
    message["To"] = _address(recipient)
    message["Date"] = format_datetime(at)
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message.set_content(text)
    return message


def _address(text: str) -> Address:
    """Return name and address, with `bücher.example` in its ASCII form.

    The error never contains the address, which is personal data: errors are stored and logged.
    """
    try:
        parts = emails.parse(text)
    except emails.BadAddress:
        raise UnusableRecipient(BAD_ADDRESS) from None
    return Address(username=parts.local_part or "", domain=parts.ascii_domain or "")


def _named(name: str, address: Address) -> Address:
    shown = " ".join("".join(mark if mark.isprintable() else " " for mark in name).split())
    return Address(_ENCODED_WORD.sub("= ", shown)[:_LONGEST_NAME], address.username, address.domain)
