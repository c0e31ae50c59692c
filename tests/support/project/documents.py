"""The documents that users read, as Markdown: their blocks, links and headings."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.support.services.settings import PROJECT

QUOTED = re.compile(r"'[^']*'|\"(?:\\.|[^\"\\])*\"")
END_OF_COMMAND = re.compile(r"[|;&()\n]")
COMPOSE_SERVICES = frozenset({"api", "jobs"})  # `docker compose exec api milepost …`
DECISIONS = "docs/decisions"


@dataclass(frozen=True)
class Block:
    """A fenced block. ``info`` is the whole info string: the language, then our marks."""

    document: str
    line: int
    info: str
    text: str

    @property
    def language(self) -> str:
        return self.info.partition(" ")[0]

    @property
    def marks(self) -> frozenset[str]:
        return frozenset(self.info.split()[1:])

    @property
    def place(self) -> str:
        return f"{self.document}:{self.line}"


def user_documents() -> list[str]:
    """Return the documents whose commands users copy: README, CONTRIBUTING and the pages of docs."""
    pages = sorted((PROJECT / "docs").rglob("*.md"))
    return ["README.md", "CONTRIBUTING.md", *(_name(page) for page in pages if DECISIONS not in _name(page))]


def all_documents() -> list[str]:
    return sorted(_name(path) for folder in (".", "docs") for path in _markdown_below(folder))


@cache
def blocks(document: str) -> tuple[Block, ...]:
    return tuple(
        Block(document, token.map[0] + 1 if token.map else 0, token.info, token.content)
        for token in _tokens(document)
        if token.type in {"fence", "code_block"}
    )


def shell_blocks() -> list[Block]:
    return [block for name in user_documents() for block in blocks(name) if block.language == "sh"]


def links(document: str) -> list[str]:
    """Return the targets of all links and pictures."""
    inline = [child for token in _tokens(document) for child in token.children or ()]
    return [str(child.attrs[key]) for child in inline for key in ("href", "src") if key in child.attrs]


def anchors(document: str) -> set[str]:
    """Return the anchors of all headings, as Git hosts and the built site make them."""
    tokens = _tokens(document)
    titles = [
        tokens[number + 1].content for number, token in enumerate(tokens) if token.type == "heading_open"
    ]
    return {_anchor(title) for title in titles}


def without_quoted(block: str) -> str:
    """Return the block with an empty word in the place of each quoted string, continued lines joined."""
    return QUOTED.sub("''", block.replace("\\\n", " "))


def commands(block: str, program: str) -> Iterator[list[str]]:
    """Yield the words after each call of ``program``, quoted ones left empty."""
    for piece in END_OF_COMMAND.split(without_quoted(block)):
        words = piece.split()
        for number, word in enumerate(words):
            if _calls(word, words[:number], program):
                yield words[number + 1 :]
                break


def _calls(word: str, before: list[str], program: str) -> bool:
    if word.endswith(f"bin/{program}"):
        return True
    return word == program and (not before or before[-1] in {"until", "do", *COMPOSE_SERVICES})


@cache
def _tokens(document: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse((PROJECT / document).read_text(encoding="utf-8"))


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower().strip()).replace(" ", "-")


def _markdown_below(folder: str) -> Iterator[Path]:
    return (PROJECT / folder).glob("*.md" if folder == "." else "**/*.md")


def _name(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()
