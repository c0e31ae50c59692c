"""Unicode text: one form in which it is stored (NFC), and one in which it is compared.

A letter with a mark can be written as one character or as two; both look the same, and people type whichever
their keyboard makes. The callers bound a text's length first: normalising takes long for a run of marks.
"""

import re
import unicodedata

# Points that writers of Arabic and Hebrew leave out as they like, and the stretching of Arabic letters.
_OPTIONAL = re.compile("[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u0652\u0670]")
# Invisible joiners and hints: soft hyphen, zero-width characters, variation selectors.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
    "\U000e0000-\U000e0fff]"
)
# Apostrophes that Unicode calls letters (Ukrainian, Hawaiian, …): most keyboards have none but ASCII's.
_APOSTROPHES = re.compile("[\u02b9-\u02bf\u02c8\u02ee\ua78c]")
_DOT_ABOVE = "\u0307"
_LONGEST_EMAIL = 1_000  # decomposed; whatever is longer is no e-mail of anybody's


def composed(text: str) -> str:
    """Return the text as it is stored: NFC."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def folded(text: str) -> str:
    """Return the form by which texts are compared: the same for all ways to write the same words.

    NFKC and full case folding. Besides, Turkish dotted and dotless i are one letter, every script's digits
    and apostrophes are ASCII's, and what is invisible or an optional point is left out.
    """
    if text.isascii():
        return text.lower()
    # Unicode 3.13, D146; decomposed first, for some marks fold to letters.
    decomposed = unicodedata.normalize("NFD", text).casefold()
    compatible = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", decomposed).casefold())
    visible = _APOSTROPHES.sub("'", _OPTIONAL.sub("", _INVISIBLE.sub("", compatible)))
    one_i = visible.replace(f"i{_DOT_ABOVE}", "i").replace("\u0131", "i")
    return unicodedata.normalize("NFC", "".join(map(_ascii_digit, one_i)))


def comparable_email(email: str) -> str:
    """Return an e-mail as it is stored and compared: no blanks around it, lower case, NFC."""
    lowered = email.strip().lower()
    return composed(lowered) if len(lowered) <= _LONGEST_EMAIL else lowered


def email_spellings(email: str) -> list[str]:
    """Return the forms in which an e-mail may be stored, the present one first: 0.1.0 kept it as typed."""
    present = comparable_email(email)
    return list(dict.fromkeys([present, email.strip().lower(), unicodedata.normalize("NFD", present)]))


def _ascii_digit(character: str) -> str:
    return character if character.isascii() else str(unicodedata.decimal(character, character))
