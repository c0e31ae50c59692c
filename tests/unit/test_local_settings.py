"""What `milepost up` can be told, and what it prints."""

from pathlib import Path

import pytest

from core.settings import SettingsError
from local import banner
from local.settings import kept_secrets, load, settings_of_local_run, write_private


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no .env of anybody


def test_all_problems_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_HTTP_PORT", "eighty")
    monkeypatch.setenv("MILEPOST_MQTT_PORT", "70000")
    monkeypatch.setenv("MILEPOST_DEMO_PASSWORD", "short")
    with pytest.raises(SettingsError) as caught:
        load()
    for name in ("MILEPOST_HTTP_PORT", "MILEPOST_MQTT_PORT", "MILEPOST_DEMO_PASSWORD"):
        assert name in str(caught.value)
    assert "short" not in str(caught.value).replace("too short", "")


def test_one_port_for_both_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_HTTP_PORT", "1883")
    with pytest.raises(SettingsError, match="must differ"):
        load()


def test_secrets_are_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    first = kept_secrets(tmp_path)
    assert kept_secrets(tmp_path) == first
    assert len({first.mqtt_key, first.jwt_key, first.demo_password}) == 3
    assert (tmp_path / "secrets.env").stat().st_mode & 0o777 == 0o600


def test_a_command_beside_a_local_run_finds_its_settings(tmp_path: Path) -> None:
    assert settings_of_local_run() is None
    (tmp_path / ".milepost").mkdir()
    lines = {
        "MILEPOST_DATABASE_URL": "postgresql://milepost:p@127.0.0.1:5/milepost",
        "MILEPOST_MQTT_URL": "mqtt://127.0.0.1:6",
        "MILEPOST_MQTT_KEY": "0123456789abcdef" * 4,
        "MILEPOST_JWT_KEY": "fedcba9876543210" * 4,
    }
    write_private(tmp_path / ".milepost" / "run.env", "".join(f"{k}={v}\n" for k, v in lines.items()))
    settings = settings_of_local_run()
    assert settings is not None
    assert settings.mqtt_url == "mqtt://127.0.0.1:6"


def test_the_banner_says_where_to_look_and_with_which_logins() -> None:
    text = banner.render(
        http_url="http://127.0.0.1:8001",
        mqtt_port=1884,
        data_dir=Path("/d"),
        command="milepost",
        password="made-up",
        operator=("operator-2", "s3cret"),
    )
    assert "http://127.0.0.1:8001/docs" in text
    for role in ("manager", "operator", "driver1", "customer1"):
        assert f"{role}@demo.example" in text
    assert "made-up" in text
    assert "mosquitto_sub -h 127.0.0.1 -p 1884 -u operator-2 -P 's3cret' -t 'fleet/demo/#' -v" in text


def test_the_banner_of_an_empty_run_says_how_to_begin() -> None:
    text = banner.render(
        http_url="",
        mqtt_port=1,
        data_dir=Path("/d"),
        command="bin/milepost",
        password="unused",
        operator=None,
    )
    assert "bin/milepost company add" in text
    assert "unused" not in text
