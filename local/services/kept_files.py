"""Small files of ours in the data folder, which may have been damaged since we wrote them."""

from pathlib import Path

from dotenv import dotenv_values


class Damaged(Exception):
    """A file of ours cannot be parsed; the error's text names it."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"{path} is damaged: {what}. Put it right, or set MILEPOST_DATA_DIR to another folder."
        )


def read_text(path: Path) -> str:
    """Return a file's text. Raises `Damaged`, or `OSError`."""
    try:
        return path.read_text()
    except UnicodeDecodeError:
        raise Damaged(path, "it is not text") from None


def read_variables(path: Path) -> dict[str, str]:
    """Return a ``.env`` file's variables with a value; {} without a file. Raises `Damaged`, `OSError`."""
    if not path.exists():
        return {}
    try:
        return {name: value for name, value in dotenv_values(path).items() if value}
    except UnicodeDecodeError:
        raise Damaged(path, "it is not text") from None


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically; no other user may ever read it."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_text(text)
    unfinished.replace(path)
