import os
import stat
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from broker.access_control import plugin_file
from core.identities import mqtt_secret
from tests.support import factories

KEY = "0123456789abcdef0123456789abcdef"


def test_the_file_is_the_owners_alone_and_holds_no_secret(session: Session, tmp_path: Path) -> None:
    device = factories.device(session, factories.company(session))
    path = tmp_path / "dynamic-security.json"
    plugin_file.write(path, session, KEY)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert device.id in path.read_text()
    assert mqtt_secret(KEY, device.id) not in path.read_text()


def test_a_failure_leaves_the_old_file_as_it_was(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "dynamic-security.json"
    path.write_text("old")
    session.execute(text("DROP TABLE device CASCADE"))
    with pytest.raises(Exception, match="device"):
        plugin_file.write(path, session, KEY)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_file_stays_the_brokers_own(session: Session, tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    path = tmp_path / "dynamic-security.json"
    plugin_file.write(path, session, KEY)
    assert path.stat().st_uid == 12345
    os.chown(path, 54321, 54321)
    plugin_file.write(path, session, KEY)
    assert (path.stat().st_uid, path.stat().st_gid) == (54321, 54321)
