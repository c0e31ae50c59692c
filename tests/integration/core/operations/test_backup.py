"""Backups as files, and what is refused before anything is touched. With processes: tests/e2e."""

import io
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from alembic import command
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, sessionmaker

from core.access.actors import Actor
from core.database import partitions
from core.database.schema import alembic_config, migrate, newest_revision
from core.errors import Conflict
from core.models.people import Customer
from core.operations import erasure
from core.operations.backups import archive, catalogue
from core.operations.backups.archive import Manifest, Unusable, key_mark
from core.operations.backups.restore import Restored, Wanted, restore
from core.operations.backups.take import take
from core.rules.enums import Role, Status
from tests.support import factories
from tests.support.services.postgres import Databases

NOW = datetime.now(UTC)
KEYS = {"MILEPOST_MQTT_KEY": key_mark("one"), "MILEPOST_JWT_KEY": key_mark("two")}
ADD = """
INSERT INTO position (vehicle_id, fix_time, latitude, longitude, received_at, suspect, attributes)
VALUES (:van, :at, 52.1234567, -0.1, now(), false, CAST(:extra AS jsonb))
"""
LONG_AGO = partitions.month_start(NOW, -14)


@dataclass
class BackupSource:
    """A database and a folder for its backups."""

    url: str
    folder: Path

    def backup(self, name: str = "b.zip", at: datetime = NOW) -> Path:
        take(self.folder / name, self.url, KEYS, None, at)
        return self.folder / name

    def sessions(self) -> "closing[Session]":
        return closing(Session(create_engine(self.url, pool_size=1)))


@pytest.fixture
def filled(session: Session, database_url: str, tmp_path: Path) -> BackupSource:
    """A company with a bit of everything that COPY might spoil."""
    company = factories.company(session, name="Käse\t& \\N\n„Co“")
    session.info["company"] = company
    ended = {"customer_id": factories.customer(session, company, name="Clara").id}
    factories.delivery(session, company, Status.DELIVERED, ended_at=NOW, **ended)
    van = factories.vehicle(session, company)
    partitions.make(session, [LONG_AGO])
    for fix_time in (LONG_AGO, NOW):
        session.execute(text(ADD), {"van": van.id, "at": fix_time, "extra": r'{"a": "\\n\t"}'})
    session.commit()
    return BackupSource(database_url, tmp_path)


@pytest.fixture
def empty(databases: Databases, tmp_path: Path) -> Iterator[BackupSource]:
    """A database with nothing in it at all."""
    with databases.fresh() as url:
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        engine.dispose()
        yield BackupSource(url, tmp_path)


def restored(place: BackupSource, file: Path, **wanted: object) -> Restored:
    return restore(file, place.url, Wanted(**({"keys": KEYS} | wanted)), NOW)  # type: ignore[arg-type]


def contents(place: BackupSource) -> dict[str, object]:
    """Each table's number of rows and a checksum over them."""
    engine = create_engine(place.url)
    with engine.connect() as connection:
        query = "SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM \"{}\" t"
        names = catalogue.tables(connection)
        found = {name: tuple(connection.execute(text(query.format(name))).one()) for name in names}
    engine.dispose()
    return dict(found)


def test_every_table_comes_back_as_it_was(filled: BackupSource, empty: BackupSource) -> None:
    file = filled.backup()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(filled.folder.iterdir()) == [file]
    before = contents(filled)
    restored(empty, file)
    assert contents(empty) == before
    assert before["position"][0] == 2  # type: ignore[index]


def test_ids_and_rules_go_on_where_they_stood(
    filled: BackupSource, empty: BackupSource, session: Session
) -> None:
    last = factories.customer(session, session.info["company"])
    session.commit()
    session.delete(last)
    session.commit()
    restored(empty, filled.backup())
    with empty.sessions() as other:
        company = other.execute(text("SELECT id FROM company")).scalar_one()
        assert factories.customer(other, session.info["company"]).id == last.id + 1
        other.rollback()
        rules = "SELECT count(*) FROM pg_constraint WHERE contype = 'f'"
        assert other.scalar(text(rules)) == session.scalar(text(rules))
        other.execute(text("SET LOCAL ROLE milepost_api"))
        assert other.scalar(text("SELECT count(*) FROM customer")) == 0
        other.execute(text("SELECT set_config('app.company_id', :c, true)"), {"c": str(company)})
        assert other.scalar(text("SELECT count(*) FROM customer")) == 1


def test_an_empty_database_will_do_and_a_full_one_needs_replace(
    filled: BackupSource, empty: BackupSource
) -> None:
    file, before = filled.backup(), contents(filled)
    migrate(empty.url)
    restored(empty, file)
    with pytest.raises(Conflict, match="not empty"):
        restored(empty, file)
    with empty.sessions() as session:
        session.execute(text("DELETE FROM position"))
        session.commit()
    restored(empty, file, replace=True)
    assert contents(empty) == before


def _cut(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def _changed(raw: bytes) -> bytes:
    at = raw.index(b"tables/customer.copy") + 60
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


@pytest.mark.parametrize("spoil", [_cut, _changed, lambda _: b"", lambda _: b"PK nonsense"])
def test_a_spoilt_file_touches_nothing(filled: BackupSource, spoil: Callable[[bytes], bytes]) -> None:
    file, before = filled.backup(), contents(filled)
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(Unusable):
        restored(filled, file, replace=True)
    assert contents(filled) == before


def rewritten(file: Path, **changes: object) -> Path:
    """The same backup with another manifest."""
    other = file.with_name("other.zip")
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            raw = old.read(name)
            if name == archive.MANIFEST:
                manifest = msgspec.json.decode(raw) | changes
                raw = msgspec.json.encode(manifest)
            new.writestr(name, raw)
    return other


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"format": 2}, "newer"), ({"revision": "9999"}, "newer than"), ({"members": 1}, "manifest")],
)
def test_what_is_newer_or_strange_is_refused(
    filled: BackupSource, changes: dict[str, object], message: str
) -> None:
    before = contents(filled)
    with pytest.raises(Unusable, match=message):
        restored(filled, rewritten(filled.backup(), **changes), replace=True)
    assert contents(filled) == before


def test_other_keys_are_refused_unless_meant(filled: BackupSource, empty: BackupSource) -> None:
    file = filled.backup()
    with pytest.raises(Unusable, match="MILEPOST_MQTT_KEY, without which"):
        restored(empty, file, keys=KEYS | {"MILEPOST_MQTT_KEY": key_mark("three")})
    restored(empty, file, keys={}, other_keys=True)


def test_a_backup_of_an_older_structure_is_restored_and_migrated(
    filled: BackupSource, empty: BackupSource
) -> None:
    command.downgrade(alembic_config(filled.url), "0004")
    file = _old_backup(filled)
    assert restored(empty, file).manifest.revision == "0004"
    with empty.sessions() as session:
        assert session.scalar(text("SELECT version_num FROM alembic_version")) == newest_revision()
        assert session.scalar(text("SELECT fixes_kept_days FROM company")) is None
        assert session.scalar(text("SELECT count(*) FROM position")) == 2


def _old_backup(place: BackupSource) -> Path:
    """By the code of now, which asks for erased customers: that of then knew of none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(erasure, "erased", lambda _session: [])
        return place.backup()


def test_who_was_erased_since_is_erased_again(
    filled: BackupSource, empty: BackupSource, session: Session, sessions: sessionmaker[Session]
) -> None:
    old = filled.backup("old.zip", NOW - timedelta(days=1))
    company = session.info["company"]
    clara = session.scalar(text("SELECT id FROM customer WHERE name = 'Clara'"))
    actor = Actor(company_id=company.id, company_slug=company.slug, role=Role.MANAGER)
    with sessions.begin() as erasing:
        erasure.erase(erasing, actor, clara, NOW)
    filled.backup("new.zip")
    done = restored(empty, old)
    assert done.erased_again == [f"{company.slug}/{clara}"]
    with empty.sessions() as other:
        found = other.get(Customer, clara)
        assert found is not None
        assert (found.name, found.erased_at) == ("erased", NOW)


def test_who_cannot_be_erased_again_is_named(
    filled: BackupSource, empty: BackupSource, session: Session
) -> None:
    """As the backup has it a delivery is still open."""
    session.execute(text("UPDATE delivery SET status = 'pending'"))
    session.commit()
    old = filled.backup("old.zip", NOW - timedelta(days=1))
    session.execute(text("UPDATE customer SET erased_at = now()"))
    session.commit()
    filled.backup("new.zip")
    done = restored(empty, old)
    assert done.erased_again == []
    assert len(done.not_erased) == 1


def test_another_installations_backup_erases_no_customer_here(
    filled: BackupSource, empty: BackupSource, session: Session
) -> None:
    """It may have a company of the same name."""
    old = filled.backup("old.zip", NOW - timedelta(days=1))
    session.execute(text("UPDATE customer SET erased_at = now()"))
    session.commit()
    new = filled.backup("new.zip")
    rewritten(new, keys={name: key_mark("other") for name in KEYS}).replace(new)
    done = restored(empty, old)
    assert done.erased_again == done.not_erased == []
    one_changed = KEYS | {"MILEPOST_JWT_KEY": key_mark("other")}
    rewritten(filled.backup("newer.zip"), keys=one_changed).replace(filled.folder / "newer.zip")
    assert restored(empty, old, replace=True).erased_again != []


def test_a_restore_that_ends_half_way_leaves_all_as_it_was(
    filled: BackupSource, empty: BackupSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it was nearly done: rows that are still to be erased again must not be visible."""
    file = filled.backup("old.zip", NOW - timedelta(days=1))
    with filled.sessions() as session:
        session.execute(text("UPDATE customer SET erased_at = now()"))
        session.commit()
    filled.backup("new.zip")

    def die(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(erasure, "erase", die)
    before = contents(filled)
    for place in (filled, empty):
        with pytest.raises(SystemExit):
            restored(place, file, replace=True)
    assert contents(filled) == before
    with empty.sessions() as session:
        assert session.scalar(text("SELECT to_regclass('customer')")) is None


def test_of_two_backups_at_the_same_time_one_is_whole_and_one_refused(filled: BackupSource) -> None:
    """As when cron and an administrator meet in one second."""

    def meet() -> None:
        with archive.writing(filled.folder / "b.zip") as slow:
            slow.copy("one", io.BytesIO(b"1" * 100_000))
            filled.backup("b.zip")
            filled.backup("c.zip")
            slow.copy("two", io.BytesIO(b"2" * 100_000))

    with pytest.raises(FileExistsError):
        meet()
    files = sorted(filled.folder.iterdir())
    assert [file.name for file in files] == ["b.zip", "c.zip"]
    for file in files:
        with archive.reading(file) as backup:
            backup.verify()


def test_what_a_killed_backup_left_goes_with_the_next(filled: BackupSource) -> None:
    left = filled.folder / f".milepost-1.zip.1234{archive.UNFINISHED}"
    left.write_bytes(b"people's data")
    file = filled.backup()
    assert list(filled.folder.iterdir()) == [file]


def test_any_changed_bit_is_reported_as_damage(tmp_path: Path) -> None:
    """Wherever it is: lengths, methods, versions, flags. None ends in anything else."""
    file, member = tmp_path / "b.zip", archive.member_of("customer")
    with archive.writing(file) as writer:
        with writer.member(member, ["name"]) as sink:
            sink.write(b"Clara\n" * 50)
        writer.finish(
            Manifest(
                format=archive.FORMAT,
                made_at=NOW,
                revision="0001",
                keys={},
                members=writer.members,
                sequences={},
                months=[],
                erased=[],
            )
        )
    raw = file.read_bytes()
    damaged = 0
    for bit in range(0, len(raw) * 8, 3):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        try:
            with archive.reading(file) as backup:
                backup.verify()
                with backup.open(member) as rows:
                    assert rows.read() == b"Clara\n" * 50
        except Unusable:
            damaged += 1
    assert damaged > len(raw)


def test_a_month_that_was_about_to_be_dropped_is_in_no_restores_way(filled: BackupSource) -> None:
    """Retention was killed between detaching it and dropping it."""
    file, before = filled.backup(), contents(filled)
    name = f"position_{LONG_AGO:%Y_%m}"
    with filled.sessions() as session:
        session.execute(text(f"ALTER TABLE position DETACH PARTITION {name}"))
        session.execute(text(f"COMMENT ON TABLE {name} IS 'milepost: to be dropped'"))
        session.commit()
    restored(filled, file, replace=True)
    assert contents(filled) == before


@pytest.mark.parametrize(
    "statements",
    [
        ("CREATE TABLE customer (id int)",),
        ("CREATE TABLE alembic_version (version_num text)", "INSERT INTO alembic_version VALUES ('abc')"),
    ],
)
def test_another_programs_database_is_left_alone(
    filled: BackupSource, empty: BackupSource, statements: tuple[str, ...]
) -> None:
    with empty.sessions() as session:
        for statement in statements:
            session.execute(text(statement))
        session.commit()
    before = contents(empty)
    with pytest.raises(Conflict, match=r"not Milepost's|another program's"):
        restored(empty, filled.backup(), replace=True)
    assert contents(empty) == before


def test_a_folder_for_the_brokers_state_is_refused_before_all(
    filled: BackupSource, empty: BackupSource
) -> None:
    state = filled.folder / "mosquitto.db"
    state.write_bytes(b"state")
    file = filled.folder / "b.zip"
    take(file, filled.url, KEYS, state, NOW)
    with pytest.raises(IsADirectoryError):
        restored(empty, file, broker_state=filled.folder, replace=True)
    with empty.sessions() as session:
        assert session.scalar(text("SELECT to_regclass('company')")) is None


def test_a_service_at_work_is_named(filled: BackupSource, empty: BackupSource) -> None:
    file = filled.backup()
    engine = create_engine(empty.url, connect_args={"application_name": "milepost-ingest"})
    with engine.connect(), pytest.raises(Conflict, match="milepost-ingest"):
        restored(empty, file)
    engine.dispose()


def test_a_failure_leaves_no_file_and_a_present_file_stays(filled: BackupSource, session: Session) -> None:
    file = filled.backup()
    before = file.read_bytes()
    with pytest.raises(FileExistsError):
        filled.backup()
    assert file.read_bytes() == before
    session.execute(text("DROP TABLE customer CASCADE"))
    session.commit()
    with pytest.raises(Exception, match="customer"):
        filled.backup("another.zip")
    assert list(filled.folder.iterdir()) == [file]


def test_no_key_and_nothing_of_it_is_in_the_manifest(filled: BackupSource) -> None:
    with archive.reading(filled.backup()) as backup:
        manifest: Manifest = backup.manifest
    assert manifest.keys == KEYS
    assert all(len(mark) == 16 for mark in KEYS.values())


def test_a_backup_neither_waits_nor_blocks(filled: BackupSource, session: Session) -> None:
    """Another writes before and while it is taken: what was not committed is not in it."""
    session.execute(text("UPDATE customer SET name = 'not yet'"))
    with archive.reading(filled.backup()) as backup, backup.open(archive.member_of("customer")) as rows:
        assert b"not yet" not in rows.read()
    session.commit()
