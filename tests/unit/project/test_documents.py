"""What users copy and click: commands work in bash and zsh, links lead somewhere, marks are known.

zsh refuses an unquoted ``?`` and, at a prompt, a comment.
"""

import re
import shutil
import subprocess
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

import milepost
from tests.support.project.documents import (
    END_OF_COMMAND,
    Block,
    all_documents,
    anchors,
    blocks,
    commands,
    links,
    shell_blocks,
    user_documents,
    without_quoted,
)
from tests.support.services.settings import PROJECT

BLOCKS = shell_blocks()
RUNNING = [block for block in BLOCKS if "not-run" not in block.marks]
MARKS = {"sh": {"not-run", "background"}, "": set()}
OUTPUT_MARKS = {"output", "output-of-background"}
UNITS = sorted((PROJECT / "docs" / "systemd").glob("*.service"))


def by_place(block: Block) -> str:
    return block.place


def test_the_blocks_are_found() -> None:
    assert len(BLOCKS) >= 40
    assert any("mosquitto_rr" in block.text for block in BLOCKS)
    assert {block.document for block in BLOCKS} >= {"README.md", "CONTRIBUTING.md", "docs/operations.md"}


@pytest.mark.parametrize("document", user_documents())
def test_every_block_has_a_language_and_known_marks(document: str) -> None:
    for block in blocks(document):
        assert block.language, f"{block.place}: an indented block, or no language"
        assert block.marks <= MARKS.get(block.language, OUTPUT_MARKS), block.place


@pytest.mark.parametrize("document", user_documents())
def test_expected_output_follows_a_block_that_runs(document: str) -> None:
    seen: set[str] = set()
    for block in blocks(document):
        if block.language == "sh":
            seen.add("output-of-background" if "background" in block.marks else "output")
        assert block.marks & OUTPUT_MARKS <= seen, block.place


@pytest.mark.parametrize("block", BLOCKS, ids=by_place)
def test_a_block_is_shell(block: Block) -> None:
    checked = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("block", BLOCKS, ids=by_place)
def test_no_word_is_a_pattern_of_file_names(block: Block) -> None:
    assert not re.findall(r"\S*[?*\[]\S*", without_quoted(block.text))


@pytest.mark.parametrize("block", BLOCKS, ids=by_place)
def test_no_comment_stands_in_a_block(block: Block) -> None:
    assert not re.findall(r"(?:^|\s)#.*", without_quoted(block.text))


@pytest.mark.parametrize("block", BLOCKS, ids=by_place)
def test_curl_shows_its_errors(block: Block) -> None:
    for words in commands(block.text, "curl"):
        assert words[0] in {"-fsS", "-sS", "-fsSi"}, words


@pytest.mark.parametrize("block", RUNNING, ids=by_place)
@pytest.mark.parametrize("program", ["jq", "python", "createdb", "psql", "milepost"])
def test_no_program_is_called_that_only_some_machines_have(block: Block, program: str) -> None:
    assert program not in [piece.split()[0] for piece in _pieces(block.text) if piece.split()]


@pytest.mark.parametrize("document", user_documents())
def test_python_is_never_called_without_the_virtual_environment(document: str) -> None:
    assert not re.findall(r"(?<![\w/])python -m \S+", (PROJECT / document).read_text())


def _pieces(text: str) -> list[str]:
    return END_OF_COMMAND.split(without_quoted(text))


def test_every_sent_file_exists() -> None:
    sent = re.findall(r"\w=@(\S+)", "\n".join(without_quoted(block.text) for block in BLOCKS))
    assert {"docs/samples/door.jpg", "docs/samples/signature.png"} <= set(sent)
    assert [name for name in sent if "demo.example" not in name and not (PROJECT / name).exists()] == []


def test_every_program_of_the_virtual_environment_is_installed_with_it() -> None:
    scripts = {script.name for script in entry_points(group="console_scripts")} | {"python", "pip"}
    used = {name for document in user_documents() for name in _venv_programs(document)}
    assert {"milepost", "python", "websockets"} <= used
    assert used <= scripts


def _venv_programs(document: str) -> list[str]:
    return re.findall(r"\.venv/bin/([\w-]+)", (PROJECT / document).read_text())


def test_no_mounted_folder_is_relative() -> None:
    mounts = re.findall(r"-v (\S+:\S+)", "\n".join(block.text for block in BLOCKS))
    assert mounts
    assert [mount for mount in mounts if mount.startswith(".")] == []


@pytest.mark.parametrize("block", BLOCKS, ids=by_place)
def test_every_command_of_ours_and_its_options_exist(block: Block) -> None:
    for words in commands(block.text, "milepost"):
        command, rest = _resolved(words)
        known = {option for parameter in command.params for option in parameter.opts}
        assert [word for word in rest if word.startswith("--") and word not in known] == []


def _resolved(words: list[str]) -> tuple[Any, list[str]]:
    command: Any = typer.main.get_command(milepost.app)
    while isinstance(command, TyperGroup) and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    is_group = isinstance(command, TyperGroup) and not command.invoke_without_command
    assert not is_group, f"no such command: {words}"
    return command, words


@pytest.mark.parametrize("document", all_documents())
def test_every_relative_link_leads_somewhere(document: str) -> None:
    for link in links(document):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (PROJECT / document).parent / path if path else PROJECT / document
        assert target.exists(), f"{document} links to {link}, which does not exist"
        if anchor:
            name = target.resolve().relative_to(PROJECT.resolve()).as_posix()
            assert anchor in anchors(name), f"{document} links to {link}: no such heading"


def test_every_page_is_in_the_sites_index() -> None:
    index = (PROJECT / "docs" / "index.md").read_text()
    pages = [page for page in user_documents() if page.startswith("docs/") and page != "docs/index.md"]
    missing = [page for page in pages if page.removeprefix("docs/").removesuffix(".md") not in index]
    assert missing == []


def test_the_signature_check_in_the_page_is_the_receivers() -> None:
    (shown,) = [block.text for block in blocks("docs/webhooks.md") if block.language == "python"]
    assert shown in (PROJECT / "docs" / "samples" / "webhook_receiver.py").read_text()


def problems_of_unit(path: Path) -> str:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: macOS, or a container without systemd")
    command = ["systemd-analyze", "verify", "--man=no", str(path)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    ours = [line for line in checked.stderr.splitlines() if str(path.parent) in line or path.name in line]
    return "\n".join(ours) or ("" if checked.returncode == 0 else checked.stderr)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_systemd_unit_is_understood(unit: Path, tmp_path: Path) -> None:
    # It asks whether the programs exist, and whether the units that ours require do.
    for other in UNITS:
        text = other.read_text().replace("/opt/milepost/.venv/bin/milepost", "/bin/true")
        (tmp_path / other.name).write_text(text)
    assert problems_of_unit(tmp_path / unit.name) == ""


def test_the_drop_in_for_mosquitto_is_understood(tmp_path: Path) -> None:
    unit = tmp_path / "mosquitto.service"
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    unit.with_suffix(".service.d").mkdir()
    drop_in = PROJECT / "docs" / "systemd" / "mosquitto-users.conf"
    shutil.copy(drop_in, unit.with_suffix(".service.d"))
    assert problems_of_unit(unit) == ""
    (script,) = re.findall(r"exec (\.venv/bin/milepost .+)'$", drop_in.read_text(), re.M)
    (words,) = commands(script, "milepost")
    assert _resolved(words)[0].name == "write"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_units_command_is_one_of_ours(unit: Path) -> None:
    (line,) = re.findall(r"^ExecStart=/opt/milepost/\.venv/bin/milepost (.+)$", unit.read_text(), re.M)
    _resolved(line.split())


def test_operations_list_every_alert() -> None:
    folders = ("api", "broker", "core", "ingest", "jobs")
    code = "".join(path.read_text() for folder in folders for path in (PROJECT / folder).rglob("*.py"))
    documented = (PROJECT / "docs" / "operations.md").read_text()
    alerts = set(re.findall(r"alert=[a-z_]+", code))
    assert "alert=job_failing" in alerts
    assert [alert for alert in sorted(alerts) if f"| `{alert}` |" not in documented] == []
