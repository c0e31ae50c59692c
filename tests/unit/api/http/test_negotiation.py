"""Which format an Accept header asks for."""

import pytest

from api.http.negotiation import NotAcceptable, best

OFFERED = ["application/json", "application/geo+json", "text/csv"]


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv"),
        ("TEXT/CSV", "text/csv"),
        ("text/*;q=0.5, application/*;q=0.4", "text/csv"),
        ("application/json;q=0.2, application/geo+json", "application/geo+json"),
        ("text/html, application/xml;q=0.9, */*;q=0.8", "application/json"),
        ("application/json;q=0, */*", "application/geo+json"),
        ("text/csv; charset=utf-8; q=1", "text/csv"),
    ],
)
def test_highest_weight_wins_and_of_equals_the_first(accept: str | None, chosen: str) -> None:
    assert best(accept, OFFERED) == chosen


@pytest.mark.parametrize(
    "accept", ["image/png", "*/*;q=0", "text/csv;q=nonsense", "text/csv;q=nan", ",", ";;;", "a" * 10_000]
)
def test_nothing_acceptable_is_refused(accept: str) -> None:
    with pytest.raises(NotAcceptable):
        best(accept, OFFERED)
