"""`milepost outbox`: dead-lettered rows, which the broker refused too often."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.common import admin_settings, transaction

app = typer.Typer(help="Dead-lettered rows, which the broker refused too often.", no_args_is_help=True)
IdsArgument = Annotated[list[int], typer.Argument(help="As `milepost outbox list` shows them.")]


@app.command("list")
def outbox_list() -> None:
    """Show the dead-lettered rows, oldest first: id, kind, topic, age, error."""
    from broker.outbox_messages import subject_of
    from core.operations import dead_letters

    now = datetime.now(UTC)
    with transaction(admin_settings()) as session:
        for row in dead_letters.rows(session):
            age = str(now - row.created_at).partition(".")[0]
            error = " ".join((row.error or "").split())
            typer.echo(f"{row.id:>8}  {row.kind:<13}  {subject_of(row.kind, row.payload)}  {age}  {error}")


@app.command("retry")
def outbox_retry(ids: IdsArgument) -> None:
    """Let the relay publish rows once more. Refused for a status when a newer one has been published."""
    from core.operations import dead_letters

    with transaction(admin_settings()) as session:
        dead_letters.retry(session, ids)
    typer.echo(f"{len(set(ids))} given to the relay")


@app.command("drop")
def outbox_drop(ids: IdsArgument) -> None:
    """Delete dead-lettered rows for good: their messages are never published."""
    from core.operations import dead_letters

    with transaction(admin_settings()) as session:
        dead_letters.drop(session, ids)
    typer.echo(f"{len(set(ids))} dropped")
