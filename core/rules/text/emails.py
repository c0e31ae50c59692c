"""The one check of e-mail addresses: for the API, the command line, the settings and the mailer.

Syntax only: nothing is looked up, so that adding a customer waits for no name server.
"""

import email_validator
from email_validator import EmailNotValidError, ValidatedEmail, validate_email

MAXIMUM_LENGTH = 254
LOOKS_LIKE = "must look like name@example.com"
# A company's own mail server may serve these, and staging systems use `.test`. The library's other
# special-use names (`.invalid`, `.localhost`, `.onion`, reverse look-ups) have no mailboxes anywhere.
_SERVED_PRIVATELY = frozenset({"local", "test", "arpa"})
email_validator.SPECIAL_USE_DOMAIN_NAMES[:] = [
    *(name for name in email_validator.SPECIAL_USE_DOMAIN_NAMES if name not in _SERVED_PRIVATELY),
    "in-addr.arpa",
    "ip6.arpa",
]


class BadAddress(ValueError):
    """No e-mail can ever be sent there; the message says why, and what an address looks like."""


def parse(text: str) -> ValidatedEmail:
    """Return the address's parts, its domain also in ASCII. Raises `BadAddress`."""
    if "=?" in text:
        # Python's e-mail policy decodes encoded words in addresses, and so may name another recipient.
        raise BadAddress(f"{LOOKS_LIKE}. It must not contain '=?'.")
    try:
        return validate_email(text, check_deliverability=False)
    except EmailNotValidError as error:
        raise BadAddress(f"{LOOKS_LIKE}. {error}") from None


def require_usable(text: str) -> str:
    """Return the text itself. Raises `BadAddress`."""
    parse(text)
    return text
