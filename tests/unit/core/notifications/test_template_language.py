"""Companies' templates: what they may say, what is refused, and that none can hang or eat the sender."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidValue
from core.notifications.content import template_language, templates
from core.notifications.content.template_language import TemplateProblem
from core.notifications.content.texts import DEFAULTS, SAMPLES, Texts
from core.notifications.kinds import Audience, Event

FACTS = {
    "status": "in_transit",
    "reason": None,
    "eta": "2026-03-01T12:42:00Z",
    "delivery": {"id": 4, "name": "<b>"},
}


def render(source: str, *, is_html: bool = False, time_zone: str = "UTC") -> str:
    template_language.check(source, FACTS, is_html=is_html)
    return template_language.render(source, FACTS, time_zone, is_html=is_html)


def test_facts_conditions_and_filters() -> None:
    assert render("{{ delivery.id }}: {{ status | words | upper }}{{ reason }}.") == "4: IN TRANSIT."
    assert (
        render("{% if reason %}{{ reason }}{% elif status == 'in_transit' %}soon{% else %}-{% endif %}")
        == "soon"
    )
    assert render("{% if not reason and status != 'x' %}yes{% endif %}{# unseen #}") == "yes"


def test_times_are_the_companys() -> None:
    assert render("{{ eta | datetime }}", time_zone="Europe/Berlin") == "2026-03-01 13:42"
    assert render("{{ eta | time }} {{ eta | date }} {{ reason | time }}{{ status | date }}") == (
        "12:42 2026-03-01 in_transit"
    )


def test_html_is_escaped_and_text_is_not() -> None:
    assert render("<i>{{ delivery.name }}</i>", is_html=True) == "<i>&lt;b&gt;</i>"
    assert render("{{ delivery.name }}") == "<b>"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("a\nb {{ statsu }}", "line 2: there is no statsu here"),
        ("{{ delivery.secret }}", "line 1: there is no delivery.secret here"),
        ("{{ delivery }}", "line 1: there is no delivery here"),
        ("{{ status.__class__ }}", "line 1: there is no status.__class__ here"),
        ("\n\n{% if status %}", "line 3: "),
        ("{{ status", "line 1: "),
        ("\n{% for c in status %}{{ c }}{% endfor %}", "line 2: a loop is not part"),
        ("{{ status.upper() }}", "line 1: a call is not part"),
        ("{{ 'a' * 1000000000 }}", "line 1: mul is not part"),
        ("{{ 9 ** 9 ** 9 ** 9 }}", "line 1: pow is not part"),
        ("{{ status[0] }}", "line 1: […] is not part"),
        ("{{ range(9) }}", "line 1: "),
        ("{% set a = 1 %}", "line 1: "),
        ("{% include 'x' %}", "line 1: "),
        ("{% macro m() %}{% endmacro %}", "line 1: "),
        ("{{ self }}", "line 1: there is no self here"),
        ("{{ status | pprint }}", "line 1: No filter named 'pprint'"),
        ("{{ status | upper(1) }}", "line 1: the filter upper takes no values"),
        ("{% if status > 1 %}x{% endif %}", "line 1: values are compared by"),
        ("{% if status is defined %}x{% endif %}", "line 1: "),
        ("{{ " + "(" * 5000 + "status" + ")" * 5000 + " }}", "line 1: it is nested too deeply"),
        ("{{ " + "not " * 3000 + "status }}", "line 1: it is nested too deeply"),
        ("{% if status %}" * 30 + "{% endif %}" * 30, "line 1: it is nested too deeply"),
        ("{{ " + "9" * 5000 + " }}", "line 1: "),
        ("{{ status }}" * 201, "line 1: it has more than 200"),
    ],
)
def test_everything_else_is_refused_naming_the_line(source: str, problem: str) -> None:
    with pytest.raises(TemplateProblem) as refused:
        template_language.check(source, FACTS)
    assert refused.value.detail.startswith(problem), refused.value.detail


@given(st.text(alphabet="{}%#|. ()'\n-=status\ud800", max_size=60))
def test_whatever_is_saved_can_be_rendered(source: str) -> None:
    with contextlib.suppress(TemplateProblem):
        template_language.check(source, FACTS)
        assert isinstance(template_language.render(source, {}), str)


@pytest.mark.parametrize(("event", "audience"), DEFAULTS)
def test_our_own_words_are_of_the_language_and_say_everything(event: Event, audience: Audience) -> None:
    texts = DEFAULTS[event, audience]
    templates.check(event, texts)
    written = templates.write(texts, SAMPLES[event], "UTC")
    assert "{" not in written.subject + written.text
    assert "Hello Clara Customer," in written.text
    assert "\n" not in written.subject
    bare = templates.write(texts, {}, "UTC")
    assert "None" not in bare.subject + bare.text


def test_a_fact_cannot_smuggle_a_header_in() -> None:
    texts = Texts("{{ reason }}", "{{ reason }}")
    written = templates.write(texts, {"reason": "a\r\nBcc: x@example.com\u2028\ud800"}, "UTC")
    assert written.subject == "a Bcc: x@example.com \ufffd"


def test_a_bad_template_names_its_field() -> None:
    with pytest.raises(InvalidValue) as refused:
        templates.check(Event.LATE, Texts("ok", "ok", "<p>\n{{ nothing }}"))
    assert refused.value.facts["errors"] == [{"field": "html", "message": "line 2: there is no nothing here"}]
