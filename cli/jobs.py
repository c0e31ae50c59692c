"""`milepost jobs`: the background process, and jobs on demand."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.common import admin_settings, give_up, process_settings, transaction

app = typer.Typer(invoke_without_command=True)


@app.callback()
def jobs(context: typer.Context) -> None:
    """The background process: the outbox relay and scheduled jobs. Of several processes one leads."""
    from jobs.main import run

    if context.invoked_subcommand is None:
        raise typer.Exit(run(process_settings("jobs")))


@app.command("list")
def jobs_list(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with instants instead of durations.")
    ] = False,
) -> None:
    """Show each job: its interval, its last run and result, its next run."""
    from jobs.schedule import listing

    with transaction(admin_settings()) as session:
        found = listing.read(session)
    typer.echo(listing.as_json(found) if as_json else listing.as_text(found, datetime.now(UTC)))


@app.command("run")
def jobs_run(name: Annotated[str, typer.Argument(help="A name from `milepost jobs list`.")]) -> None:
    """Run a job now, beside the leader if there is one. A failure is shown and gives exit code 1."""
    from jobs.schedule import by_hand

    outcome = by_hand.run(admin_settings(), name)
    if outcome.error is not None:
        give_up(f"{name} failed: {outcome.error}")
    typer.echo(f"{name} done: {outcome.result or 'nothing to do'}")
