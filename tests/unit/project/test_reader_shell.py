"""How a document's promised output is compared with what came."""

from pathlib import Path

import pytest

from tests.support.project.reader_shell import BlockFailed, ReaderShell, shows

PRINTED = 'HTTP/1.1 200 OK\r\netag: "3"\r\n\r\n{"id":17,"status":"in_transit"}'


@pytest.mark.parametrize(
    "expected",
    ["HTTP/1.1 200 OK", 'etag: "…"\n"status":"in_transit"', '{"id":…,"status":"in_transit"}', "\n"],
)
def test_promised_lines_are_found_in_order(expected: str) -> None:
    assert shows(expected, PRINTED)


@pytest.mark.parametrize(
    "expected", ['"status":"delivered"', 'in_transit\netag: "3"', "HTTP/1.1 … in_transit", "etag\netag"]
)
def test_missing_or_misplaced_lines_are_noticed(expected: str) -> None:
    assert not shows(expected, PRINTED)


def test_colours_of_a_terminal_are_ignored() -> None:
    assert shows("< hello", "\x1b7\x1b[1A\x1b[L< hello\x1b8")


def test_a_failing_command_ends_the_block(tmp_path: Path) -> None:
    shell = ReaderShell(tmp_path, {}, {"PASSWORD=…": "PASSWORD=secret"})
    try:
        assert shell.run("PASSWORD=…\nprintf '%s' \"$PASSWORD\"") == "secret"
        with pytest.raises(BlockFailed, match="begun"):
            shell.run("echo begun\nfalse | true\necho never")
    finally:
        shell.close()


def test_a_block_in_the_background_keeps_running(tmp_path: Path) -> None:
    shell = ReaderShell(tmp_path, {}, {})
    try:
        shell.run_in_background("echo started; cat")
        shell.await_background("started", timeout=20)
        assert shell.run("echo next") == "next\n"
    finally:
        shell.close()
