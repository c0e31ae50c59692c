"""``milepost backup`` and ``milepost restore``."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import admin_settings, database_errors, give_up, process_settings
from core.settings import Settings

if TYPE_CHECKING:
    from core.operations.backups.restore import Restored


def backup(
    path: Annotated[Path, typer.Argument(help="A new file, or a folder for one named by the time.")],
    broker_state: Annotated[
        Path | None, typer.Option(help="Mosquitto's mosquitto.db: what devices sent and ingest has not read.")
    ] = None,
) -> None:
    """Write everything into one file, without downtime. The two keys are not in it: store them apart."""
    from core.operations.backups import take

    settings, now = admin_settings(), datetime.now(UTC)
    file = path / f"milepost-{now:%Y%m%dT%H%M%SZ}.zip" if path.is_dir() else path
    url = settings.database_url.get_secret_value()
    with database_errors(), _file_errors():
        manifest = take.take(file, url, _key_marks(settings), broker_state, now)
    size = sum(member.size for member in manifest.members.values())
    typer.echo(f"{file} written: {file.stat().st_size} bytes, {size} before compression")


def restore(
    file: Annotated[Path, typer.Argument(help="What `milepost backup` wrote.")],
    broker_state: Annotated[
        Path | None, typer.Option(help="Where the broker, stopped, shall find its mosquitto.db.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Delete what is there, for good.")] = False,
    scratch: Annotated[
        bool, typer.Option("--scratch", help="Only try it, in a database that is made for it and removed.")
    ] = False,
    other_keys: Annotated[
        bool, typer.Option("--other-keys", help="Go on with other keys: every device needs a new password.")
    ] = False,
) -> None:
    """Restore a backup into an empty database; stop ingest, jobs and API first (not with --scratch)."""
    from core.operations.backups import restore as restoring

    if scratch:
        if replace or broker_state is not None:
            raise typer.BadParameter("--scratch touches nothing: leave --replace and --broker-state out")
        _try_out(file, other_keys=other_keys)
        return
    settings = process_settings("restore")
    wanted = restoring.Wanted(
        keys=_key_marks(settings), broker_state=broker_state, replace=replace, other_keys=other_keys
    )
    url = settings.database_url.get_secret_value()
    with database_errors(), _file_errors():
        done = restoring.restore(file, url, wanted, datetime.now(UTC))
    _print_restored(done)
    typer.echo("next: `milepost broker write` for a new broker, then start everything")


def _try_out(file: Path, *, other_keys: bool) -> None:
    """Restore beside the real database, on the server of a running `milepost up` too."""
    from core.operations.backups import restore as restoring
    from core.operations.backups import trial

    settings = admin_settings()
    url = settings.database_url.get_secret_value()
    wanted = restoring.Wanted(keys=_key_marks(settings), other_keys=other_keys)
    with database_errors(), _file_errors(), trial.scratch_database(url) as name:
        typer.echo(f"restoring into the new database {name}")
        done = restoring.restore(file, trial.url_beside(url, name), wanted, datetime.now(UTC))
        rows = trial.count_rows(trial.url_beside(url, name))
    _print_restored(done)
    typer.echo(
        f"{sum(rows.values())} rows in {len(rows)} tables, among them {rows['company']} companies,"
        f" {rows['delivery']} deliveries and {rows['position']} fixes"
    )
    typer.echo(f"{name} is removed again; nothing else was touched")


def _print_restored(done: "Restored") -> None:
    typer.echo(f"restored as it was at {done.manifest.made_at:%Y-%m-%d %H:%M:%S} UTC")
    for label, names in (("erased again", done.erased_again), ("STILL TO BE ERASED", done.not_erased)):
        if names:
            typer.echo(f"{label}: {', '.join(names)}")


@contextmanager
def _file_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        give_up(f"{error.filename or 'The file'} cannot be used: {error.strerror or error}")


def _key_marks(settings: Settings) -> dict[str, str]:
    from core.operations.backups.archive import key_mark

    keys = {"MILEPOST_MQTT_KEY": settings.mqtt_key, "MILEPOST_JWT_KEY": settings.jwt_key}
    return {name: key_mark(key.get_secret_value()) for name, key in keys.items()}
