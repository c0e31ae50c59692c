"""``milepost backup`` and ``milepost restore``."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.common import admin_settings, database_errors, give_up, process_settings
from core.settings import Settings


def backup(
    path: Annotated[Path, typer.Argument(help="A new file, or a folder for one named by the time.")],
    broker_state: Annotated[
        Path | None, typer.Option(help="Mosquitto's mosquitto.db: what devices sent and ingest has not read.")
    ] = None,
) -> None:
    """Write everything into one file, while all goes on. The two keys are not in it: keep them apart."""
    from core.backups import take

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
    other_keys: Annotated[
        bool, typer.Option("--other-keys", help="Go on with other keys: every device needs a new password.")
    ] = False,
) -> None:
    """Bring a backup into an empty database; ingest, jobs and API must not run."""
    from core.backups import restore as restoring

    settings = process_settings("restore")
    wanted = restoring.Wanted(
        keys=_key_marks(settings), broker_state=broker_state, replace=replace, other_keys=other_keys
    )
    url = settings.database_url.get_secret_value()
    with database_errors(), _file_errors():
        done = restoring.restore(file, url, wanted, datetime.now(UTC))
    typer.echo(f"restored as it was at {done.manifest.made_at:%Y-%m-%d %H:%M:%S} UTC")
    for said, names in (("erased again", done.erased_again), ("STILL TO BE ERASED", done.not_erased)):
        if names:
            typer.echo(f"{said}: {', '.join(names)}")
    typer.echo("next: `milepost broker write` for a new broker, then start everything")


@contextmanager
def _file_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        give_up(f"{error.filename or 'The file'} cannot be used: {error.strerror or error}")


def _key_marks(settings: Settings) -> dict[str, str]:
    from core.backups.archive import key_mark

    keys = {"MILEPOST_MQTT_KEY": settings.mqtt_key, "MILEPOST_JWT_KEY": settings.jwt_key}
    return {name: key_mark(key.get_secret_value()) for name, key in keys.items()}
