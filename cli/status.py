"""`milepost status`."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.common import admin_settings

if TYPE_CHECKING:
    from core.health.checks import BrokerView
    from core.health.report import HealthReport
    from core.settings import Settings


def status(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the document of GET /status/ as JSON.")
    ] = False,
) -> None:
    """Show the whole system's health. Exit code 1 unless all checks are ok."""
    from core.health import report
    from core.health.results import CheckStatus

    found = _look(admin_settings())
    typer.echo(report.as_json(found) if as_json else report.as_text(found))
    raise typer.Exit(0 if found.status is CheckStatus.OK else 1)


def _look(settings: "Settings") -> "HealthReport":
    from datetime import UTC, datetime

    from core.database import schema
    from core.database.engine import make_sessions
    from core.health import checks, heartbeats, seeing
    from core.health.beating import watching_engine
    from core.health.report import HealthReport

    engine = watching_engine(settings, "command")
    view = checks.View(
        database=seeing.look(make_sessions(engine), schema.newest_revision()),
        broker=_broker(settings),
        disk=seeing.disk_of(settings.disk_folder),
    )
    engine.dispose()
    return HealthReport.of(checks.judge(view), heartbeats.me(), datetime.now(UTC))


def _broker(settings: "Settings") -> "BrokerView":
    from broker import probe
    from broker.connection import login
    from broker.link import BrokerAway
    from core.health.checks import BrokerView
    from core.identities import STATUS_USER

    try:
        figures = probe.read_figures(login(settings, STATUS_USER))
    except BrokerAway as away:
        return BrokerView(user_name=STATUS_USER, fault=away.summary)
    return BrokerView(user_name=STATUS_USER, fault=None, waiting=figures.waiting, dropped=figures.dropped)
