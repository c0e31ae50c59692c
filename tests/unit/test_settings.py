"""What the settings refuse when they are read, rather than when they are first used."""

from pathlib import Path

import pytest

from core.settings import SettingsError, load

USABLE = {
    "DATABASE_URL": "postgresql://milepost:p@127.0.0.1:5432/milepost",
    "MQTT_URL": "mqtt://127.0.0.1:1883",
    "MQTT_KEY": "0123456789abcdef" * 4,
    "JWT_KEY": "fedcba9876543210" * 4,
}


@pytest.fixture(autouse=True)
def _usable_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no .env of anybody
    for name, value in USABLE.items():
        monkeypatch.setenv(f"MILEPOST_{name}", value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://h:abc/x",
        "postgresql://h:99999/x",
        "postgresql://h:0/x",
        "postgresql://[::1/x",
        "postgresql://h/x?foo=bar",
        "mysql://h/x",
    ],
)
def test_a_database_url_that_no_driver_takes_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_DATABASE_URL", url)
    with pytest.raises(SettingsError, match="MILEPOST_DATABASE_URL"):
        load()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///x?host=/run/postgresql",
        "postgresql://[::1]:5432/x",
        "postgresql://u:a#b/c@h:5432/x?sslmode=require",
        "postgresql://u:p@h/x?host=a:5432&host=b:5433",
    ],
)
def test_a_database_url_of_any_shape_that_the_driver_takes_is_kept(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILEPOST_DATABASE_URL", url)
    assert load().database_url.get_secret_value() == url.replace("postgresql:", "postgresql+psycopg2:")


def test_the_password_in_a_refused_url_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_DATABASE_URL", "postgresql://u:hush@h:pass/x?foo=bar")
    with pytest.raises(SettingsError) as caught:
        load()
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["mqtt://h:abc", "mqtt://h:99999", "mqtt://h:0", "mqtt://[::1", "mqtt://h/topic", "mqtt://h?a=b"]
)
def test_a_broker_url_that_names_no_port_or_too_much_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILEPOST_MQTT_URL", url)
    with pytest.raises(SettingsError, match="MILEPOST_MQTT_URL"):
        load()


def test_a_ca_file_must_hold_certificates_where_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILEPOST_MQTT_CA_FILE", str(tmp_path / "ca.pem"))
    load()
    monkeypatch.setenv("MILEPOST_MQTT_URL", "mqtts://h")
    with pytest.raises(SettingsError, match=r"MILEPOST_MQTT_CA_FILE names .*ca.pem, which cannot be read"):
        load()
    (tmp_path / "ca.pem").write_text("not PEM")
    with pytest.raises(SettingsError, match="holds no certificates"):
        load()


def test_an_env_file_that_is_not_text_is_told(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"MILEPOST_LOG_LEVEL=\xff\xfe\n")
    with pytest.raises(SettingsError, match=r"\.env .* is not text"):
        load()
