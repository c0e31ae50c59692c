"""The settings of `milepost up`, and how other commands find the Milepost that it runs."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.settings import ENV_FILE, Settings, SettingsError, read, require_real_secret
from local.services.kept_files import Damaged, read_variables, write_private

ELSEWHERE = frozenset({"MILEPOST_DATABASE_URL", "MILEPOST_MQTT_URL"})
KEYS = frozenset({"MILEPOST_MQTT_KEY", "MILEPOST_JWT_KEY"})
RUN_ENV = "run.env"
SECRETS_ENV = "secrets.env"


class LocalSettings(BaseSettings):
    """Two runs side by side must differ in both ports and the folder."""

    model_config = SettingsConfigDict(
        env_prefix="MILEPOST_", env_file=ENV_FILE, env_ignore_empty=True, extra="ignore", frozen=True
    )

    http_port: int = Field(default=8000, ge=1, le=65535, description="Port of the API on this machine")
    mqtt_port: int = Field(default=1883, ge=1, le=65535, description="Port of the broker on this machine")
    data_dir: Path = Field(default=Path(".milepost"), description="Folder of all data of the run")
    demo_password: SecretStr | None = Field(
        default=None,
        min_length=8,
        description="Password of the demo's users; unset: generated, kept and printed",
    )

    @field_validator("data_dir")
    @classmethod
    def _can_be_a_path(cls, path: Path) -> Path:
        if "\0" in str(path):
            raise ValueError("must not contain NUL")
        return path

    @model_validator(mode="after")
    def _ports_differ(self) -> "LocalSettings":
        if self.http_port == self.mqtt_port:
            raise ValueError("MILEPOST_HTTP_PORT and MILEPOST_MQTT_PORT must differ")
        return self


def load() -> LocalSettings:
    """Read the settings. Raises `SettingsError` that names every wrong variable at once."""
    return read(LocalSettings, {})


@dataclass(frozen=True)
class Secrets:
    mqtt_key: str
    jwt_key: str
    demo_password: str


def kept_secrets(data_dir: Path) -> Secrets:
    """Return this data folder's own secrets, generated at the first run and kept. Raises `Damaged`."""
    path = data_dir / SECRETS_ENV
    kept = read_variables(path)
    values = {
        "MILEPOST_MQTT_KEY": kept.get("MILEPOST_MQTT_KEY") or secrets.token_hex(32),
        "MILEPOST_JWT_KEY": kept.get("MILEPOST_JWT_KEY") or secrets.token_hex(32),
        "MILEPOST_DEMO_PASSWORD": kept.get("MILEPOST_DEMO_PASSWORD") or secrets.token_urlsafe(9),
    }
    for name in KEYS:
        try:
            require_real_secret(values[name])
        except ValueError as error:
            raise Damaged(path, f"{name} {error}") from None
    if values != kept:
        write_private(path, "".join(f"{name}={value}\n" for name, value in values.items()))
    return Secrets(*values.values())


def settings_of_children(variables: Mapping[str, str]) -> Settings:
    """Return a child's settings, given ``variables`` beside our environment. Raises `SettingsError`."""
    return read(Settings, _fields(variables))


def settings_of_local_run() -> Settings | None:
    """Return the settings of the `milepost up` that runs in our data folder, for commands given beside it.

    None when it does not run. Raises `SettingsError`.
    """
    path = load().data_dir / RUN_ENV
    try:
        variables = read_variables(path)
        return read(Settings, _fields(variables)) if variables else None
    except Damaged as error:
        raise SettingsError(str(error)) from None
    except SettingsError as error:
        raise SettingsError(f"{path}, which `milepost up` wrote, is damaged.\n{error}") from None
    except OSError as error:
        raise SettingsError(f"{path} (MILEPOST_DATA_DIR) cannot be read: {error.strerror}") from None


def is_configured_by_hand() -> bool:
    """Return whether a Milepost other than the local run is configured, at least in part.

    A ``.env`` with keys only belongs to docker compose: beside it, `milepost up` uses its own keys.
    """
    try:
        from_file = read_variables(Path(ENV_FILE))
    except (Damaged, OSError):
        return True
    given = {name.upper() for name, value in os.environ.items() if value}
    return bool(given & (ELSEWHERE | KEYS) or {name.upper() for name in from_file} & ELSEWHERE)


def _fields(variables: Mapping[str, str]) -> dict[str, Any]:
    return {name.removeprefix("MILEPOST_").lower(): value for name, value in variables.items()}
