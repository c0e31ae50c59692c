"""Read the settings of a process, and report all their problems together."""

import errno
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from core.settings.process import ENV_FILE, Settings

_Kind = TypeVar("_Kind", bound=BaseSettings)


class SettingsError(Exception):
    """The settings cannot be used; the message lists all problems, one per line."""


def load() -> Settings:
    """Read the settings. Raises `SettingsError`, which names all wrong variables together."""
    return read(Settings, {})


def read(kind: type[_Kind], overrides: Mapping[str, Any]) -> _Kind:
    """Read settings of any kind; ``overrides`` by field win over the environment. Raises `SettingsError`."""
    try:
        return kind(**overrides)
    except ValidationError as error:
        raise SettingsError(all_problems(error)) from None
    except UnicodeDecodeError:
        raise SettingsError(f"{ENV_FILE} in this folder cannot be used: it is not text in UTF-8") from None
    except OSError as error:
        raise SettingsError(f"{error.filename or ENV_FILE} cannot be read: {error.strerror}") from None


def port_taken(field: str, port: int, error: OSError) -> SettingsError:
    """Return the error for a port, of the setting ``field``, on which the process cannot listen."""
    name = f"MILEPOST_{field.upper()}"
    if error.errno != errno.EADDRINUSE:
        return SettingsError(f"{name}={port} cannot be listened on: {error.strerror}. Choose another port.")
    return SettingsError(
        f"{name}={port} is taken by another program. Choose another port, or leave {name} unset."
    )


def all_problems(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        name = "MILEPOST_" + "_".join(str(part) for part in problem["loc"]).upper() if problem["loc"] else ""
        text = "is not set" if problem["type"] == "missing" else problem["msg"].removeprefix("Value error, ")
        lines.append(f"  {name} {text}".rstrip() if name else f"  {text}")
    return "The settings cannot be used (see .env.example):\n" + "\n".join(lines)
