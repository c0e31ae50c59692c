"""`.ci/run`, with another program in the place of `make`."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.services.settings import PROJECT


@pytest.mark.parametrize(
    ("printed", "exit_code", "last_line"),
    [
        (
            r"=== 412 passed, 3 skipped in 301.27s (0:05:01) ===",
            0,
            "412 passed, 3 skipped in 301.27s (0:05:01)",
        ),
        (r"\033[31m== \033[1m1 failed\033[0m, 2 passed in 3.10s ==\033[0m", 1, "1 failed, 2 passed in 3.10s"),
        ("ruff: Found 1 error.", 2, "pytest was not reached."),
    ],
)
def test_the_last_line_is_pytests_own_and_plain(
    tmp_path: Path, printed: str, exit_code: int, last_line: str
) -> None:
    make = tmp_path / "make"
    make.write_text(f"#!/bin/sh\nprintf '{printed}\\n'\nexit {exit_code}\n")
    make.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    result = subprocess.run([PROJECT / ".ci" / "run"], env=env, capture_output=True, text=True, check=False)
    assert result.returncode == exit_code
    assert result.stdout.splitlines()[-1] == last_line
