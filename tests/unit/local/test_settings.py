"""The settings of `milepost up`, and what it prints."""

from pathlib import Path

import pytest

from core.settings import SettingsError
from local import banner
from local.services.kept_files import Damaged, write_private
from local.settings import is_configured_by_hand, kept_secrets, load, settings_of_local_run

OF_THE_RUN = {
    "DATABASE_URL": "postgresql://milepost:p@127.0.0.1:5/milepost",
    "MQTT_URL": "mqtt://127.0.0.1:6",
    "MQTT_KEY": "0123456789abcdef" * 4,
    "JWT_KEY": "fedcba9876543210" * 4,
}


@pytest.fixture
def run_env(tmp_path: Path) -> Path:
    (tmp_path / ".milepost").mkdir()
    return tmp_path / ".milepost" / "run.env"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no .env of anybody


def test_all_problems_are_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"\xff\xfe", "not text"), (b"MILEPOST_MQTT_KEY=short\n", "MILEPOST_MQTT_KEY is too short")],
)
def test_damaged_secrets_are_reported_with_their_file(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "secrets.env").write_bytes(content)
    with pytest.raises(Damaged, match=rf"secrets\.env is damaged: .*{what}"):
        kept_secrets(tmp_path)


def test_a_command_beside_a_local_run_finds_its_settings(run_env: Path) -> None:
    assert settings_of_local_run() is None
    write_private(run_env, "".join(f"MILEPOST_{name}={value}\n" for name, value in OF_THE_RUN.items()))
    settings = settings_of_local_run()
    assert settings is not None
    assert settings.mqtt_url == OF_THE_RUN["MQTT_URL"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"MILEPOST_MQTT_KEY=short\n"])
def test_a_damaged_file_of_a_local_run_is_named(run_env: Path, content: bytes) -> None:
    run_env.write_bytes(content)
    with pytest.raises(SettingsError, match=r"run\.env"):
        settings_of_local_run()


def test_a_data_folder_with_an_impossible_name_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_DATA_DIR", "x" * 300)
    with pytest.raises(SettingsError, match="MILEPOST_DATA_DIR"):
        settings_of_local_run()


@pytest.mark.parametrize(
    ("variable", "env_file", "is_configured"),
    [
        ("", "", False),
        ("MILEPOST_HTTP_PORT", "MILEPOST_MQTT_PORT=1884\n", False),
        ("MILEPOST_DATABASE_URL", "", True),
        ("MILEPOST_MQTT_URL", "", True),
        ("MILEPOST_JWT_KEY", "", True),
        ("", "MILEPOST_DATABASE_URL=postgresql://h/x\n", True),
        ("", "MILEPOST_MQTT_URL=mqtt://h\n", True),
        ("", "MILEPOST_MQTT_KEY=of-docker-compose\nPOSTGRES_PASSWORD=x\n", False),
    ],
)
def test_a_begun_configuration_is_not_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, env_file: str, is_configured: bool
) -> None:
    if variable:
        monkeypatch.setenv(variable, "something")
    (tmp_path / ".env").write_text(env_file)
    assert is_configured_by_hand() is is_configured


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


@pytest.mark.parametrize(
    ("companies", "phrase"), [(0, "It is empty."), (1, "It holds one company."), (3, "It holds 3 companies.")]
)
def test_the_banner_without_the_demo_says_how_to_go_on(companies: int, phrase: str) -> None:
    text = banner.render(
        http_url="",
        mqtt_port=1,
        data_dir=Path("/d"),
        command="bin/milepost",
        password="unused",
        operator=None,
        companies=companies,
    )
    assert phrase in text
    assert "bin/milepost company add" in text
    assert "unused" not in text
