"""Which e-mail addresses mail can be sent to: one answer for the API, the settings and the mailer."""

import pytest
from pydantic import TypeAdapter, ValidationError

from api.schemas.fields import Email
from core.accounts.users import clean_email
from core.errors import InvalidValue
from core.rules.text import emails
from jobs.sender.mail import messages

USABLE = [
    "clara@demo.example",
    "Clara.O'Neil+van@Example.com",
    "user@corp.internal",
    "user@corp.local",
    "user@nas.home.arpa",
    "user@staging.test",
    "info@bücher.example",
    "info@xn--bcher-kva.example",
    "jörg@example.com",
]
UNUSABLE = [
    "a@b.example>",
    "<x@b.example>",
    "Clara <x@b.example>",
    "a@b",
    "a@localhost",
    "a@mail.localhost",
    "a@nowhere.invalid",
    "a@b..example",
    "a@b.example.",
    "a@-b.example",
    "a@b.123",
    "a@192.0.2.1",
    "a@[192.0.2.1]",
    "a..b@example.com",
    ".a@example.com",
    '"a b"@example.com',
    "a,b@example.com",
    "a@b@example.com",
    "a@example.com\r\nBcc: b@example.com",
    "=?utf-8?q?eve=40example.com=3E=2C?=@example.org",
    "a@ex\u200bample.com",
    "nul\0@example.com",
    f"{'a' * 250}@example.com",
    "@example.com",
    "",
]


@pytest.mark.parametrize("address", USABLE)
def test_a_usable_address_passes_everywhere(address: str) -> None:
    assert TypeAdapter(Email).validate_python(f" {address} ") == address
    assert clean_email(f" {address} ") == address.lower()
    assert messages._address(address).addr_spec.isascii() == address.rpartition("@")[0].isascii()


@pytest.mark.parametrize("address", UNUSABLE)
def test_an_unusable_address_is_refused_everywhere(address: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Email).validate_python(address)
    with pytest.raises(InvalidValue):
        clean_email(address)
    with pytest.raises(messages.UnusableRecipient):
        messages._address(address)


def test_the_refusal_says_what_is_wrong_and_what_is_right() -> None:
    with pytest.raises(emails.BadAddress, match=r"must look like name@example\.com\. .*'>'"):
        emails.require_usable("a@b.example>")
