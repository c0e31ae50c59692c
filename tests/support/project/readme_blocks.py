"""The README's blocks of shell, as a reader copies them."""

import re
from collections.abc import Iterator

from tests.support.services.settings import PROJECT

README = (PROJECT / "README.md").read_text(encoding="utf-8")
INDENT = "    "
QUOTED = re.compile(r"'[^']*'|\"(?:\\.|[^\"\\])*\"")
# What an indented block that is no shell begins with: output of ours, JSON, a line of a crontab.
OTHER = ("Milepost runs.", "{", "15 3 * * *")
END_OF_COMMAND = re.compile(r"[|;&()\n]")


def shell_blocks() -> list[str]:
    return [block for block in _indented_blocks(README) if not block.startswith(OTHER)]


def without_quoted(block: str) -> str:
    """The block with an empty word in the place of each quoted string, continued lines joined."""
    return QUOTED.sub("''", block.replace("\\\n", " "))


def commands(block: str, program: str) -> Iterator[list[str]]:
    """The words after each call of ``program``, quoted ones left empty."""
    for piece in END_OF_COMMAND.split(without_quoted(block)):
        words = piece.split()
        for number, word in enumerate(words):
            if word.rpartition("/")[2] == program and "=" not in word:
                yield words[number + 1 :]
                break


def _indented_blocks(text: str) -> Iterator[str]:
    """Lines indented by four spaces after an empty one, blank lines inside them included."""
    for paragraph in re.split(r"\n{2,}", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)):
        lines = paragraph.splitlines()
        if lines and all(line.startswith(INDENT) for line in lines):
            yield "\n".join(line.removeprefix(INDENT) for line in lines)
