"""One form for storing, one for comparing; e-mails and passwords in the spellings of before too."""

import unicodedata

import pytest
from argon2 import PasswordHasher

from core.accounts import passwords, throttle
from core.errors import InvalidValue
from core.reporting.daily_figures import reasons
from core.rules.enums import Status
from core.rules.text.spelling import comparable_email, composed, email_spellings

NFC = "Gr\u00fc\u00dfe aus K\u00f6ln"
NFD = unicodedata.normalize("NFD", NFC)
JAMO = unicodedata.normalize("NFD", "\ube44\ubc00\ubc88\ud638\uc785\ub2c8\ub2e4!")


def former_hash(typed: str) -> str:
    """As 0.1.0 made it: of the password as typed."""
    return PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1).hash(typed.encode())


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was hashed to be compared."""
    seen: list[bytes] = []
    verify = PasswordHasher.verify

    def counting(hasher: PasswordHasher, password_hash: str, password: bytes) -> bool:
        seen.append(password)
        return verify(hasher, password_hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", counting)
    return seen


@pytest.mark.parametrize("chosen", [NFC, NFD, JAMO, composed(JAMO)])
def test_a_password_is_right_in_any_normal_form(chosen: str) -> None:
    made = passwords.hash_password(chosen)
    for form in ("NFC", "NFD"):
        assert passwords.check(made, unicodedata.normalize(form, chosen)) == (True, False)
    assert not passwords.is_right(made, f"{chosen}!")


@pytest.mark.parametrize("chosen", [NFC, NFD])
@pytest.mark.parametrize("typed", [NFC, NFD])
def test_a_hash_of_before_lets_its_owner_in_and_is_renewed(chosen: str, typed: str) -> None:
    checked = passwords.check(former_hash(chosen), typed)
    assert checked.is_right
    assert checked.is_outdated is (chosen == NFD)


def test_a_hash_of_a_mixed_form_is_tried_as_typed() -> None:
    mixed = NFC + NFD
    assert passwords.check(former_hash(mixed), mixed) == (True, True)


def test_how_often_is_hashed_depends_on_what_was_typed_only(verified: list[bytes]) -> None:
    known = passwords.hash_password("another password")
    verified.clear()
    for typed, times in (("plain ascii", 1), (NFC, 2), (NFD, 2), (NFC + NFD, 3), ("x" * 10_000, 1)):
        for password_hash in (known, None):
            assert not passwords.is_right(password_hash, typed)
            assert len(verified) == times, typed
            verified.clear()


def test_length_counts_composed_characters() -> None:
    seven = unicodedata.normalize("NFD", "\u00e9" * 7)
    assert len(seven) == 14
    with pytest.raises(InvalidValue):
        passwords.require_usable(seven)
    passwords.require_usable(seven + unicodedata.normalize("NFD", "\u00e9"))


@pytest.mark.parametrize("marks", ["\u0315\u0300" * 200_000, "a" + "\u0328\u0301" * 200_000])
def test_a_flood_of_marks_is_not_normalised(marks: str) -> None:
    """It would take minutes, before anyone is authenticated."""
    assert passwords._forms(marks) == [marks]
    assert comparable_email(marks) == marks


def test_an_email_is_one_in_every_form() -> None:
    typed = " JOS\u00c9@Example.com "
    decomposed = unicodedata.normalize("NFD", typed)
    assert comparable_email(typed) == comparable_email(decomposed) == "jos\u00e9@example.com"
    assert throttle.email_limit(typed) == throttle.email_limit(decomposed)
    assert email_spellings(decomposed) == ["jos\u00e9@example.com", "jose\u0301@example.com"]
    assert email_spellings("x@example.com") == ["x@example.com"]


def test_reasons_that_look_the_same_are_one() -> None:
    reported = [
        "Stra\u00dfe gesperrt",
        "STRASSE GESPERRT",
        "stra\u00dfe\u3000gesperrt",
        "Tu\u0308r zu",
        "T\u00dcR ZU",
    ]
    found = reasons((number, Status.FAILED, reason) for number, reason in enumerate(reported))
    assert [one.delivery_ids for one in found] == [[0, 1, 2], [3, 4]]
