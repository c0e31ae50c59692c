"""`milepost database`."""

from typing import Annotated

import typer

from cli.common import admin_settings

app = typer.Typer(help="The database.", no_args_is_help=True)


@app.command("url")
def database_url(
    name: Annotated[str, typer.Option(help="Another database on the same server.")] = "",
) -> None:
    """Print the database's URL, its password included, for psql and similar tools."""
    from sqlalchemy import make_url

    url = make_url(admin_settings().database_url.get_secret_value()).set(drivername="postgresql")
    chosen = url.set(database=name) if name else url
    typer.echo(chosen.render_as_string(hide_password=False))
