"""The README's commands work in bash and zsh, which refuses an unquoted ``?`` and, at a prompt, a comment."""

import re
import subprocess
from importlib.metadata import entry_points
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

import milepost
from tests.support.project.readme_blocks import README, commands, shell_blocks, without_quoted
from tests.support.services.settings import PROJECT

BLOCKS = shell_blocks()


def test_the_blocks_are_found() -> None:
    assert len(BLOCKS) >= 15
    assert any("mosquitto_pub" in block for block in BLOCKS)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_is_shell(block: str) -> None:
    checked = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("block", BLOCKS)
def test_no_word_is_a_pattern_of_file_names(block: str) -> None:
    assert not re.findall(r"\S*[?*\[]\S*", without_quoted(block))


@pytest.mark.parametrize("block", BLOCKS)
def test_no_comment_stands_in_a_block(block: str) -> None:
    assert not re.findall(r"(?:^|\s)#.*", without_quoted(block))


@pytest.mark.parametrize("block", BLOCKS)
def test_curl_shows_its_errors(block: str) -> None:
    for words in commands(block, "curl"):
        assert words[0] in {"-fsS", "-sS"}, words


@pytest.mark.parametrize("block", BLOCKS)
def test_no_program_is_called_that_only_some_machines_have(block: str) -> None:
    assert list(commands(block, "jq")) == []
    for line in without_quoted(block).split():
        assert line not in {"python", "milepost:", "createdb"}


def test_python_is_never_called_without_the_virtual_environment() -> None:
    assert not re.findall(r"(?<![\w/])python -m \S+", README)


def test_every_named_file_exists() -> None:
    sent = re.findall(r"\w=@(\S+)", "\n".join(without_quoted(block) for block in BLOCKS))
    linked = re.findall(r"\]\(((?!http)[^)#]+)\)", README)
    assert {"docs/samples/door.jpg", "docs/samples/signature.png"} <= set(sent)
    assert [
        name for name in sent + linked if "demo.example" not in name and not (PROJECT / name).exists()
    ] == []


def test_every_program_of_the_virtual_environment_is_installed_with_it() -> None:
    scripts = {script.name for script in entry_points(group="console_scripts")} | {"python"}
    used = re.findall(r"\.venv/bin/([\w-]+)", README)
    assert {"milepost", "python", "websockets"} <= set(used)
    assert set(used) <= scripts


def test_no_mounted_folder_is_relative() -> None:
    mounts = re.findall(r"-v (\S+)", "\n".join(BLOCKS))
    assert mounts
    assert [mount for mount in mounts if mount.startswith(".")] == []


@pytest.mark.parametrize("block", BLOCKS)
def test_every_command_of_ours_and_its_options_exist(block: str) -> None:
    for words in commands(block, "milepost"):
        command, rest = _resolved(words)
        known = {option for parameter in command.params for option in parameter.opts}
        assert [word for word in rest if word.startswith("--") and word not in known] == []


def _resolved(words: list[str]) -> tuple[Any, list[str]]:
    command: Any = typer.main.get_command(milepost.app)
    while isinstance(command, TyperGroup) and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    assert not isinstance(command, TyperGroup), f"no such command: {words}"
    return command, words
