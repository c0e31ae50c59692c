"""Whatever people write, an e-mail has the headers that we gave it, and goes to whom we meant."""

import uuid
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from core.notifications.claims import Claimed
from core.notifications.content import templates
from core.notifications.content.texts import Texts
from jobs.sender.mail import messages

HEADERS = [
    "Subject",
    "To",
    "Date",
    "Auto-Submitted",
    "X-Auto-Response-Suppress",
    "Content-Type",
    "Content-Transfer-Encoding",
    "MIME-Version",
    "From",
    "Message-ID",
    "X-Milepost-Event",
]
HOSTILE = [
    "=?utf-8?q?Hello=0D=0ABcc:_eve@example.com?=",
    "Order =?utf-8?q?R=0D=0A=0D=0AAnother_text?= 7",
    "=?utf-8?b?SGVsbG8KQmNjOiBldmVAZXhhbXBsZS5jb20=?=",
    "==?utf-8?q?=?utf-8?q?x=0D=0ABcc:_y?=",
    "=?=?=?utf-8?q?x=0ABcc:_y?=",
    "a\r\nBcc: eve@example.com",
    "=\r\n?utf-8?q?x=0ABcc:_y?=",
    "=\x00?utf-8?q?x=0ABcc:_y?=",
    "Größe " * 30,
    "=?" * 90,
]


def sent(*, subject: str = "s", company: str = "Acme", to: str = "clara@example.com") -> EmailMessage:
    """As a program that receives it reads it."""
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    claimed = Claimed(
        sequence=1,
        number=1,
        company_id=1,
        event="late",
        event_id=uuid.uuid4(),
        audience="customer",
        recipient=to,
        webhook_id=None,
        payload={},
        created_at=now,
    )
    written = templates.write(
        Texts("{{ delivery.reference }}", "hi"), {"delivery": {"reference": subject}}, "UTC"
    )
    message = messages.of_notification(claimed, written, company, "M <mp@example.org>")
    return message_from_bytes(message.as_bytes(), policy=policy.default)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_header_is_smuggled_in_by_a_subject_or_a_name(text: str) -> None:
    for message in (sent(subject=text), sent(company=text)):
        assert message.keys() == HEADERS
        assert message.get_content().strip() == "hi"
        assert not message.defects


def test_a_subject_reads_as_it_was_written() -> None:
    assert sent(subject="Übergabe = 5?")["Subject"] == "Übergabe = 5?"
    assert sent(subject="a=?b")["Subject"] == "a= ?b"


@pytest.mark.parametrize(
    "address",
    [
        "=?utf-8?q?eve=40example.com=3E=2C?=@example.org",
        "a b@c.de",
        "a@b..c",
        "a@",
        "a@b.example>",
        "<x@b.example>",
        "a@b",
    ],
)
def test_an_address_that_could_be_read_as_another_is_refused(address: str) -> None:
    with pytest.raises(messages.UnusableRecipient):
        sent(to=address)


def test_a_domain_beyond_ascii_is_written_as_every_server_knows_it() -> None:
    (address,) = sent(to="info@bücher.example")["To"].addresses
    assert address.addr_spec == "info@xn--bcher-kva.example"
    (address,) = sent(to="info@straße.example")["To"].addresses
    assert address.addr_spec == "info@xn--strae-oqa.example"  # strasse.example may be another owner's
    with pytest.raises(messages.UnusableRecipient):
        sent(to=f"a@{'ü' * 80}.example")
