"""The settings of a test: its database and broker, random keys, nothing from the developer's environment."""

import os
import secrets
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from core.settings import Settings
from local.services.ports import LOOPBACK, free_port

PROJECT = Path(__file__).parents[3]


def make_settings(
    database_url: str, mqtt_url: str = "mqtt://127.0.0.1:1", mqtt_key: str = "", **changes: Any
) -> Settings:
    """Settings as `core.settings.load` would give; ``changes`` are further fields by name."""
    values: dict[str, Any] = {
        "database_url": database_url,
        "mqtt_url": mqtt_url,
        "mqtt_key": mqtt_key or secrets.token_hex(32),
        "jwt_key": secrets.token_hex(32),
        "http_host": LOOPBACK,
        "http_port": free_port(),
        "shutdown_timeout_s": 5.0,
    }
    return Settings(_env_file=None, **(values | changes))


def environment(settings: Settings) -> dict[str, str]:
    """What gives a child process exactly these settings; no other ``MILEPOST_*`` is passed on."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MILEPOST_")}
    ours = {
        f"MILEPOST_{name.upper()}": value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name in Settings.model_fields
        if (value := getattr(settings, name)) is not None
    }
    return {**inherited, **ours, "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1"}
