"""Words of every script: what is stored is found by what is asked, however either is written."""

# ruff: noqa: RUF001  # letters that look like others are what this is about

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.rules.text import search_words
from core.rules.text.spelling import composed, folded

HARAKAT = "\u0645\u064f\u062d\u064e\u0645\u0651\u064e\u062f"  # "Muhammad" with its points
NIQQUD = "\u05e8\u05b0\u05d7\u05d5\u05b9\u05d1"  # "street" with its points
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def is_found(stored: str, asked: str) -> bool:
    """As PostgreSQL answers `@@`: every term is a lexeme, or with `:*` the beginning of one."""
    kept = search_words.lexemes([stored], 7)
    wanted = search_words.query(asked, 7)
    assert wanted is not None
    for term in wanted.split(" & "):
        word = term.removesuffix(":*").strip("'")
        if not any(one.startswith(word) if term.endswith(":*") else one == word for one in kept):
            return False
    return True


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("ถนนสุขุมวิท 71", "ถนนสุขุมวิท"),
        ("ถนนสุขุมวิท 71", "สุขุมวิท"),
        ("ถนนสุขุมวิท 71", "สุขุมวิท71"),
        ("ถนนสุขุมวิท ๗๑", "71"),
        ("น้ำ", nfd("น้ำ")),
        ("महात्मा गांधी मार्ग", "गांधी"),
        ("महात्मा गांधी मार्ग", "महात्म"),
        ("தமிழ்நாடு", "தமிழ்"),
        (f"شارع {HARAKAT} ٧١", "محمد 71"),
        ("شارع محمد", HARAKAT),
        ("شـــارع", "شارع"),
        (f"{NIQQUD} הרצל", "רחוב"),
        ("서울특별시 강남구", nfd("서울특별시")),
        (nfd("서울특별시 강남구"), "강남"),
        ("東京都千代田区丸の内1-9-1", "千代田区"),
        ("東京都千代田区丸の内1-9-1", "丸の内 9"),
        ("東京都千代田区", "田"),
        ("ﾄｳｷｮｳ", "トウキョウ"),
        ("北京市朝阳区建国路88号", "建国路88号"),
        ("Große Straße 5", "GROSSE STRASSE"),
        ("GROẞE STRASSE", "große straße"),
        ("İSTİKLAL CADDESİ", "istiklal caddesi"),
        ("Diyarbakır", "DIYARBAKIR"),
        ("ISPARTA", "ısparta"),
        ("Oﬃce ﬁve", "office FIVE"),
        ("Ｔｏｗｅｒ　１２３", "tower 123"),
        ("ΟΔΟΣ ΕΡΜΟΥ", "οδος ερμου"),
        ("Đường Nguyễn Huệ", nfd("nguyễn huệ")),
        (nfd("Café de la Gare"), "CAFÉ"),
        ("Ångström", "\u212bngstr\u00f6m"),
        ("ko\u00adope\u200bration", "kooperation"),
        ("Кам\u02bcянець", "кам'янець"),
        ("Кам\u2019янець", "кам\u02bcянець"),
        ("Kapi'olani Blvd", "kapi\u02bbolani"),
        ("葛\U000e0100城市", "葛城市"),
        (f"Kita {FAMILY} Berlin", FAMILY),
        (f"Kita {FAMILY}", "\U0001f469"),
        ("ORDER-1001", "order-10"),
    ],
)
def test_what_looks_the_same_is_found(stored: str, asked: str) -> None:
    assert is_found(stored, asked)
    assert is_found(nfd(stored), composed(asked))
    assert is_found(composed(stored), nfd(asked))


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("Alexanderplatz", "platz"),
        ("ถนนสุขุมวิท", "วิทยุ"),
        ("東京都", "京東"),
        ("東京都港区", "東京区"),
        ("गांधी", "धी"),
        ("서울", "울"),
        ("Café", "cafe"),
        ("शक", "शिक"),
        ("🚚 Express", "🚛"),
    ],
)
def test_what_is_another_word_is_not_found(stored: str, asked: str) -> None:
    assert not is_found(stored, asked)


@pytest.mark.parametrize("text", ["", "' & !*:()<->\\", "___", "\u0301", "\u200d", "@7"])
def test_signs_are_no_words(text: str) -> None:
    expected = None if text != "@7" else "'@8' & '7'"
    assert search_words.query(text, 8) == expected


def test_another_companys_row_is_not_found() -> None:
    assert "@7" in search_words.lexemes(["x"], 7)
    assert search_words.query("x", 8) == "'@8' & 'x'"


anything = st.text(max_size=60)


@given(anything)
def test_every_text_is_found_by_itself_in_any_normal_form(text: str) -> None:
    if search_words.query(text, 7) is None:
        return
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert is_found(text, unicodedata.normalize(form, text))


@given(anything)
def test_no_word_can_leave_its_quotes(text: str) -> None:
    assert not set("'\\@&|!:*<>") & set("".join(search_words.lexemes([text], 7))) - {"@"}


@given(anything)
def test_folding_knows_neither_form_nor_case(text: str) -> None:
    assert folded(folded(text)) == folded(text)
    assert folded(nfd(text)) == folded(composed(text)) == folded(text)
    assert folded(text.casefold()) == folded(text)
