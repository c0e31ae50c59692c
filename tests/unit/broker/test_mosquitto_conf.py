"""How `mosquitto.conf` becomes the local broker's."""

from pathlib import Path

import pytest

from broker import mosquitto_conf
from broker.mosquitto_conf import CONF, PLUGIN, Layout, conf_text, render
from local.services import mosquitto
from local.services.mosquitto import MosquittoMissing, find_mosquitto

REPLACED = {
    "listener": "11883 127.0.0.1",
    "plugin": "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so",
    "plugin_opt_config_file": "/data/dynamic-security.json",
    "acl_file": "/data/mosquitto.acl",
    "persistence_location": "/data/",
}


def test_only_the_named_directives_change() -> None:
    before, after = CONF.read_text().splitlines(), render(CONF.read_text(), REPLACED).splitlines()
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert {line.split()[0]: line.split(maxsplit=1)[1] for line in changed} == REPLACED


def test_every_path_of_the_machine_is_replaced() -> None:
    layout = Layout(Path("/etc/here"), Path("/var/there"), Path("/lib/plugin.so"), "1883 127.0.0.1")
    before = CONF.read_text()
    paths = [line.split()[1] for line in before.splitlines() if len(line.split()) == 2 and " /" in line]
    assert len(paths) == 4
    assert not [path for path in paths if f"{path}\n" in conf_text(layout)]


def test_the_local_broker_listens_on_loopback_only() -> None:
    lines = render(CONF.read_text(), REPLACED).splitlines()
    assert [line for line in lines if line.startswith("listener")] == ["listener 11883 127.0.0.1"]
    assert "allow_anonymous false" in lines


def test_a_comment_that_begins_like_a_directive_stays() -> None:
    rendered = render("# listener is below\nlistener 1\n", {"listener": "2"})
    assert rendered == "# listener is below\nlistener 2\n"


def test_a_directive_that_is_missing_or_there_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="no plugin"):
        render("listener 1883\n", {"listener": "1", "plugin": "x"})
    with pytest.raises(ValueError, match="twice"):
        render("listener 1883\nlistener 1884\n", {"listener": "1"})


def test_a_missing_mosquitto_is_reported_with_ways_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(mosquitto, "BINARY_FOLDERS", (str(tmp_path),))
    with pytest.raises(MosquittoMissing, match=r"(?s)apt-get install.*dnf install.*brew install"):
        find_mosquitto()


def test_the_plugin_is_found_in_a_folder_an_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary, plugin = tmp_path / "mosquitto", tmp_path / "riscv64-linux-gnu" / PLUGIN
    plugin.parent.mkdir()
    plugin.touch()
    binary.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(mosquitto_conf, "LIBRARY_FOLDERS", (str(tmp_path),))
    assert find_mosquitto() == (binary, plugin)
