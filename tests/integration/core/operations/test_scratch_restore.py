"""`milepost restore --scratch`: a backup is tried, and nothing but the tried database is touched."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from core.errors import Forbidden
from core.operations.backups import trial
from tests.support import factories
from tests.support.services.processes import Processes

SCRATCHES = text("SELECT count(*) FROM pg_database WHERE datname LIKE 'milepost_scratch_%'")


@pytest.fixture
def backup(processes: Processes, session: Session, tmp_path: Path) -> Path:
    company = factories.company(session, slug="acme")
    factories.delivery(session, company)
    session.commit()
    done = processes.start("backup", str(tmp_path / "b.zip"))
    assert done.wait(60) == 0, done.output()
    return tmp_path / "b.zip"


def test_a_backup_is_tried_while_everything_runs(
    processes: Processes, session: Session, backup: Path
) -> None:
    api = processes.start("api")
    api.wait_for("Application startup complete")
    factories.company(session, slug="newer")
    session.commit()
    tried = processes.start("restore", str(backup), "--scratch")
    assert tried.wait(60) == 0, tried.output()
    assert "among them 1 companies, 1 deliveries and 0 fixes" in tried.output()
    assert session.scalar(text("SELECT count(*) FROM company")) == 2
    assert session.scalar(SCRATCHES) == 0
    assert api.exit_code is None


def test_a_damaged_backup_fails_and_leaves_no_database(
    processes: Processes, session: Session, backup: Path
) -> None:
    backup.write_bytes(backup.read_bytes()[:-100])
    tried = processes.start("restore", str(backup), "--scratch")
    assert tried.wait(60) == 1
    assert "The backup cannot be used" in tried.output()
    assert "Traceback" not in tried.output()
    assert session.scalar(SCRATCHES) == 0


def test_what_touches_more_than_a_scratch_is_refused_beside_it(processes: Processes, backup: Path) -> None:
    refused = processes.start("restore", str(backup), "--scratch", "--replace")
    assert refused.wait(60) == 2
    assert "omit --replace and --broker-state" in " ".join(refused.output().replace("│", " ").split())


def test_a_user_who_may_not_make_databases_gets_the_remedy(database_url: str) -> None:
    engine = create_engine(database_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE ROLE small LOGIN PASSWORD 'small-password'"))
        url = engine.url.set(username="small", password="small-password").render_as_string(False)
        try:
            with pytest.raises(Forbidden, match='ALTER ROLE "small" CREATEDB'), trial.scratch_database(url):
                pass
        finally:
            connection.execute(text("DROP ROLE small"))
    engine.dispose()
