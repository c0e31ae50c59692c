"""``milepost customer``: erase a customer's personal data."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.common import CompanyOption, admin_settings, transaction

app = typer.Typer(help="Customers.", no_args_is_help=True)


@app.command("erase")
def erase(
    customer_id: Annotated[int, typer.Argument(min=1, help="The customer's id.")],
    company: CompanyOption,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Erase a customer's personal data for good; the deliveries stay as numbers."""
    from core.access import system_actors
    from core.operations import erasure

    if not yes:
        typer.confirm(f"Erase customer {customer_id} of {company}? This cannot be undone", abort=True)
    with transaction(admin_settings()) as session:
        actor = system_actors.system_actor(session, company)
        erasure.erase(session, actor, customer_id, datetime.now(UTC))
    typer.echo(f"customer {customer_id} is erased; earlier backups still contain its data")
