"""Small files of ours in the data folder, which anything may have happened to since we wrote them."""

from pathlib import Path

from dotenv import dotenv_values


class Damaged(Exception):
    """A file of ours cannot be understood; the message names it."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"{path} is damaged: {what}. Put it right, or set MILEPOST_DATA_DIR to another folder."
        )


def read_text(path: Path) -> str:
    """Raises `Damaged`, or `OSError`."""
    try:
        return path.read_text()
    except UnicodeDecodeError:
        raise Damaged(path, "it is not text") from None


def read_variables(path: Path) -> dict[str, str]:
    """Of a file like ``.env``: all that have a value. Missing: none. Raises `Damaged`, `OSError`."""
    if not path.exists():
        return {}
    try:
        return {name: value for name, value in dotenv_values(path).items() if value}
    except UnicodeDecodeError:
        raise Damaged(path, "it is not text") from None


def write_private(path: Path, text: str) -> None:
    """Replace a file whole; nobody else may ever read it."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_text(text)
    unfinished.replace(path)
