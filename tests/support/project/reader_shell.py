"""A shell in which a reader types the blocks of a document, one after the other."""

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.waiting import wait_until

END = "==block-ended=="
ANSI = re.compile(r"\x1b(\[[0-9;]*[A-Za-z]|[78])")
WILDCARD = "…"


class BlockFailed(Exception):
    """A command of a block failed; the text is the block's output."""


class ReaderShell:
    """One bash that stops at the first failing command. ``texts`` replaces words of the document."""

    def __init__(self, folder: Path, env: Mapping[str, str], texts: Mapping[str, str]) -> None:
        self._folder = folder
        self._texts = texts
        self._number = 0
        self._background: Path | None = None
        self._process = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._type("set -euo pipefail\n")

    def run(self, block: str) -> str:
        """Return the output of a block. Raises `BlockFailed`."""
        self._type(f". {self._script(block)} </dev/null\necho {END}\n")
        assert self._process.stdout is not None
        lines: list[str] = []
        for line in self._process.stdout:
            lines.append(line)
            if line.endswith(f"{END}\n"):  # after the output of a block that ends without a newline
                return "".join(lines).removesuffix(f"{END}\n")
        raise BlockFailed("".join(lines))

    def run_in_background(self, block: str) -> None:
        """Start a block that runs until the shell ends; its standard input stays open."""
        script = self._script(block)
        keyboard, self._background = script.with_suffix(".in"), script.with_suffix(".out")
        self._background.touch()
        os.mkfifo(keyboard)
        self._type(f"(. {script}) <>{keyboard} >{self._background} 2>&1 &\n")

    def await_background(self, expected: str, timeout: float) -> None:
        """Wait until the last background block has shown ``expected``. Raises `TimeoutError`."""
        assert self._background is not None, "no block runs in the background"
        output = self._background
        wanted = self.as_here(expected)
        wait_until(lambda: shows(wanted, output.read_text()), timeout, f"{wanted}\nin {output.read_text()}")

    def as_here(self, text: str) -> str:
        for written, here in self._texts.items():
            text = text.replace(written, here)
        return text

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _script(self, block: str) -> Path:
        self._number += 1
        script = self._folder / f"block-{self._number}.sh"
        script.write_text(self.as_here(block))
        return script

    def _type(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text)
        self._process.stdin.flush()


def shows(expected: str, output: str) -> bool:
    """Return whether the output has each expected line, in order; ``…`` stands for any text of a line."""
    plain, at = ANSI.sub("", output), 0
    for line in filter(None, map(str.strip, expected.splitlines())):
        found = re.compile(".*?".join(map(re.escape, line.split(WILDCARD)))).search(plain, at)
        if found is None:
            return False
        at = found.end()
    return True
