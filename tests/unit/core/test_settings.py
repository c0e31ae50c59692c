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


def test_an_env_file_that_is_not_text_is_reported(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"MILEPOST_LOG_LEVEL=\xff\xfe\n")
    with pytest.raises(SettingsError, match=r"\.env .* is not text"):
        load()


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"SMTP_HOST": "smtp.example.com"}, "MILEPOST_SMTP_FROM is not set"),
        ({"SMTP_USER": "u"}, "go together"),
        ({"SMTP_USER": "u", "SMTP_PASSWORD": "p", "SMTP_TLS": "none"}, "in the clear"),
        ({"SMTP_FROM": "a@example.com\nBcc: b@example.com"}, "MILEPOST_SMTP_FROM"),
        ({"SMTP_USER": "u", "SMTP_PASSWORD": "pässword"}, "must be ASCII"),
        ({"SMTP_FROM": "nobody"}, "MILEPOST_SMTP_FROM"),
        ({"SMTP_FROM": "Acme <noreply@example.com>>"}, "MILEPOST_SMTP_FROM"),
        ({"SMTP_FROM": "noreply@localhost"}, "MILEPOST_SMTP_FROM must look like: Acme"),
        ({"SMTP_TLS": "ssl"}, "MILEPOST_SMTP_TLS"),
        ({"PUBLIC_URL": "track.example.com"}, "MILEPOST_PUBLIC_URL"),
        ({"WEBHOOK_ALLOWED_NETWORKS": "10.0.0.1/8"}, "MILEPOST_WEBHOOK_ALLOWED_NETWORKS"),
        ({"WEBHOOK_ALLOWED_NETWORKS": "true"}, "MILEPOST_WEBHOOK_ALLOWED_NETWORKS"),
    ],
)
def test_what_cannot_be_sent_with_is_refused(
    variables: dict[str, str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"MILEPOST_{name}", value)
    with pytest.raises(SettingsError, match=problem):
        load()


def test_a_complete_way_out_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SMTP_HOST": "smtp.example.com",
        "SMTP_FROM": "Acme <noreply@example.com>",
        "SMTP_TLS": "tls",
        "PUBLIC_URL": "https://track.example.com/",
        "WEBHOOK_ALLOWED_NETWORKS": "10.0.0.0/8, fd00::/8",
    }.items():
        monkeypatch.setenv(f"MILEPOST_{name}", value)
    settings = load()
    assert settings.smtp_port_used == 465
    assert settings.public_url == "https://track.example.com"
    assert [str(network) for network in settings.webhook_networks] == ["10.0.0.0/8", "fd00::/8"]


def test_clients_get_the_public_broker_url(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().broker_url == USABLE["MQTT_URL"]
    monkeypatch.setenv("MILEPOST_PUBLIC_MQTT_URL", "mqtts://mqtt.example.com:8883")
    assert load().broker_url == "mqtts://mqtt.example.com:8883"
    monkeypatch.setenv("MILEPOST_PUBLIC_MQTT_URL", "https://mqtt.example.com")
    with pytest.raises(SettingsError, match="MILEPOST_PUBLIC_MQTT_URL must look like mqtt://host:1883"):
        load()


@pytest.mark.parametrize(
    "origins",
    [
        "*",
        "app.example.com",
        "https://app.example.com/",
        "https://user@app.example.com",
        "https://app.example.com:443",
        "http://localhost:99999",
        "https://bücher.example",
        "ftp://app.example.com",
        "https://app.example.com, null",
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(origins: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_CORS_ORIGINS", origins)
    with pytest.raises(SettingsError, match="MILEPOST_CORS_ORIGINS must be origins such as"):
        load()


def test_origins_are_compared_as_browsers_send_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_CORS_ORIGINS", "https://App.Example.com, http://localhost:5173,")
    assert load().allowed_origins == ("https://app.example.com", "http://localhost:5173")
