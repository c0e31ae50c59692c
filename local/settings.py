"""What `milepost up` can be told, and how other commands find the Milepost it runs."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.settings import Settings, SettingsError, all_problems

RUN_ENV = "run.env"
SECRETS_ENV = "secrets.env"


class LocalSettings(BaseSettings):
    """Two runs side by side differ in all three of ports and folder."""

    model_config = SettingsConfigDict(
        env_prefix="MILEPOST_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    http_port: int = Field(default=8000, ge=1, le=65535)
    mqtt_port: int = Field(default=1883, ge=1, le=65535)
    data_dir: Path = Path(".milepost")
    demo_password: SecretStr | None = Field(default=None, min_length=8, description="unset: made up and kept")

    @model_validator(mode="after")
    def _ports_differ(self) -> "LocalSettings":
        if self.http_port == self.mqtt_port:
            raise ValueError("MILEPOST_HTTP_PORT and MILEPOST_MQTT_PORT must differ")
        return self


def load() -> LocalSettings:
    """Read the settings. Raises `SettingsError` that names every wrong variable at once."""
    try:
        return LocalSettings()
    except ValidationError as error:
        raise SettingsError(all_problems(error)) from None


@dataclass(frozen=True)
class Secrets:
    mqtt_key: str
    jwt_key: str
    demo_password: str


def kept_secrets(data_dir: Path) -> Secrets:
    """This data folder's own secrets: made up at the first run, the same ever after."""
    path = data_dir / SECRETS_ENV
    kept = dotenv_values(path) if path.exists() else {}
    values = {
        "MILEPOST_MQTT_KEY": kept.get("MILEPOST_MQTT_KEY") or secrets.token_hex(32),
        "MILEPOST_JWT_KEY": kept.get("MILEPOST_JWT_KEY") or secrets.token_hex(32),
        "MILEPOST_DEMO_PASSWORD": kept.get("MILEPOST_DEMO_PASSWORD") or secrets.token_urlsafe(9),
    }
    if values != kept:
        write_private(path, "".join(f"{name}={value}\n" for name, value in values.items()))
    return Secrets(*values.values())


def settings_of_local_run() -> Settings | None:
    """The settings of the `milepost up` that runs in our data folder, for commands given beside it."""
    path = load().data_dir / RUN_ENV
    if not path.exists():
        return None
    values = {
        name.removeprefix("MILEPOST_").lower(): value
        for name, value in dotenv_values(path).items()
        if value is not None
    }
    return Settings.model_validate(values)


def write_private(path: Path, text: str) -> None:
    """Replace a file whole; nobody else may ever read it."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_text(text)
    unfinished.replace(path)
