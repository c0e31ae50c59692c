"""Log lines: their fields, their process and their request."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from core import logs
from core.request_ids import CURRENT, carried_on
from core.rules.enums import Status

log = logging.getLogger("a.logger")


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What the process has written, as its root logger is now configured."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield lambda: capsys.readouterr().err
    root.handlers[:] = handlers
    root.setLevel(level)


def fields_of(template: str, *arguments: object) -> Any:
    record = logging.LogRecord("a.logger", logging.INFO, "", 1, template, arguments, None)
    line = json.loads(logs.JsonFormatter("api").format(record))
    assert line["event"] == record.getMessage()
    return line.get("fields", {})


def test_fields_have_the_types_of_their_arguments() -> None:
    found = fields_of("job_done job=%s rows=%d lasted_s=%.1f left=%s", "retention", 3, 1.25, None)
    assert found == {"job": "retention", "rows": 3, "lasted_s": 1.25, "left": None}
    assert fields_of("moved status=%s to=%s", Status.DELIVERED, {"a"}) == {
        "status": "delivered",
        "to": "{'a'}",
    }


def test_text_with_spaces_and_quotes_is_one_field() -> None:
    assert fields_of("failed error=%r at=%s", 'no "x"\n y=1', "b c") == {"error": 'no "x"\n y=1', "at": "b c"}


def test_words_around_the_fields_take_their_own_arguments() -> None:
    found = fields_of(
        "%s of %d%% alert=full at=http://%s:%d why='held up' rest=%s%s", "a", 5, "h", 80, "b", "c"
    )
    assert found == {"alert": "full", "at": "http://h:80", "why": "held up", "rest": "bc"}


def test_messages_without_arguments_are_read_as_written() -> None:
    assert fields_of("waiting reason='50% of it' part=%s") == {"reason": "50% of it", "part": "%s"}
    assert fields_of("no field here") == {}
    assert fields_of("named=%(a)s", {"a": 1}) == {}


def test_infinity_is_text_because_json_has_none() -> None:
    assert fields_of("late by_s=%s", float("inf")) == {"by_s": "inf"}


def test_json_lines_name_process_pid_and_request(written: Callable[[], str]) -> None:
    logs.configure("ingest", "INFO", "json")
    with carried_on("abc-1"):
        log.info("stored rows=%d", 2)
    log.info("idle")
    first, second = map(json.loads, written().splitlines())
    assert first | {"at": ""} == {
        "at": "",
        "level": "INFO",
        "process": "ingest",
        "pid": second["pid"],
        "logger": "a.logger",
        "event": "stored rows=2",
        "fields": {"rows": 2},
        "request_id": "abc-1",
    }
    assert "request_id" not in second


def test_text_lines_end_with_the_request_before_the_stack(written: Callable[[], str]) -> None:
    logs.configure("api")
    with carried_on("abc-1"):
        try:
            raise ValueError("x")
        except ValueError:
            log.exception("failed rows=%d", 2)
    log.info("idle rows=%d", 3)
    lines = written().splitlines()
    assert lines[0].endswith(" ERROR api a.logger failed rows=2 request_id=abc-1")
    assert lines[1].startswith("Traceback")
    assert lines[-1].endswith(" INFO api a.logger idle rows=3")


def test_the_request_of_before_is_named_again_after_the_block() -> None:
    with carried_on("outer"):
        with carried_on(None):
            assert CURRENT.get() is None
        assert CURRENT.get() == "outer"
    assert CURRENT.get() is None
