"""The words of free text, made alike of what is stored and of what is asked. Pure.

A list is searched by the beginnings of words. Scripts that put no blanks between words (Thai, Chinese,
Japanese, …) have none: of their runs every one, two and three neighbouring characters are kept, so that any
part of a run is found. A combining mark belongs to the letter before it, an emoji is a word of its own.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator

from core.rules.text.spelling import folded

# To be raised with every change of what follows: then all rows' words are made anew (`search_words`).
VERSION = 1
# The beginnings of a word that are kept, and a mark of the company: a search looks one of them up exactly, so
# that PostgreSQL's statistics tell how rare it is.
COMPANY_MARK = "@"
CUTS = (1, 2, 3, 4, 6, 60)
LONGEST_PART = 3
MAXIMUM_WORDS = 10
# Thai, Lao, Myanmar, Tai, Khmer; kana, bopomofo, Han. Hangul has blanks between words.
_UNSPACED = re.compile(
    "[\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaa7f"
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u303c\u3041-\u30ff\u3105-\u312f\u31a0-\u31bf"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff]"
)
_LETTERS, _RUN, _SYMBOL = "letters", "run", "symbol"
_SKIN_TONES = range(0x1F3FB, 0x1F400)
Word = tuple[str, str]  # its kind and its text


def lexemes(texts: Iterable[str], company_id: int) -> list[str]:
    """Return what is kept of a company's row, as a tsvector's lexemes."""
    kept = {f"{COMPANY_MARK}{company_id}"}
    for text in texts:
        for kind, word in _words(folded(text)):
            kept.update(_parts(word) if kind is _RUN else _beginnings(word))
    return sorted(kept)


def query(text: str | None, company_id: int) -> str | None:
    """Return the tsquery that finds a company's rows with all of these words; None when there is no word."""
    words = list(_words(folded(text or "")))[:MAXIMUM_WORDS]
    if not words:
        return None
    wanted = [_part_of_a_run(word) if kind is _RUN else _begins(word) for kind, word in words]
    return " & ".join([f"'{COMPANY_MARK}{company_id}'", *wanted])


def _words(text: str) -> Iterator[Word]:
    """Cut folded text between kinds of characters; what is neither letter, digit nor symbol is left out."""
    kind, word = "", ""
    for character in text:
        present = _kind(character, kind)
        if word and (present != kind or kind is _SYMBOL):
            yield kind, word
            word = ""
        kind = present
        word += character if kind else ""
    if word:
        yield kind, word


def _kind(character: str, before: str) -> str:
    if character.isalnum():
        return _RUN if character > "\u0e00" and _UNSPACED.match(character) else _LETTERS
    if character.isascii():
        return ""
    category = unicodedata.category(character)
    if category.startswith("M"):
        return before
    return _SYMBOL if category == "So" or ord(character) in _SKIN_TONES else ""


def _beginnings(word: str) -> Iterator[str]:
    return (word[:length] for length in CUTS)


def _parts(run: str) -> Iterator[str]:
    for length in range(1, LONGEST_PART + 1):
        yield from (run[start : start + length] for start in range(len(run) - length + 1))


def _begins(word: str) -> str:
    """The longest cut that is kept of such words, then the rest: PostgreSQL knows how rare a cut is."""
    word = word[: CUTS[-1]]
    cut = max(length for length in CUTS if length <= len(word))
    return f"'{word}'" if cut == len(word) else f"'{word[:cut]}' & '{word}':*"


def _part_of_a_run(run: str) -> str:
    """All its parts of the longest kind: that they are neighbours is not asked, and rarely untrue."""
    last = max(0, len(run) - LONGEST_PART)
    return " & ".join(f"'{run[start : start + LONGEST_PART]}'" for start in range(last + 1))
