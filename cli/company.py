"""`milepost company`."""

from typing import Annotated

import typer

from cli.common import (
    PasswordOption,
    admin_settings,
    chosen_password,
    person_name,
    print_fields,
    printable_name,
    transaction,
)

app = typer.Typer(help="Companies.", no_args_is_help=True)


@app.command("add")
def company_add(
    slug: Annotated[str, typer.Argument(help="Permanent name in topics: a-z, 0-9 and -.")],
    manager_email: Annotated[str, typer.Option(help="E-mail address of the first manager.")],
    name: Annotated[str, typer.Option(help="Display name; unset: the slug.")] = "",
    manager_name: Annotated[str, typer.Option(help="Unset: the part before the @.")] = "",
    time_zone: Annotated[str, typer.Option(help="IANA time zone, such as Europe/Berlin.")] = "UTC",
    password: PasswordOption = "",
) -> None:
    """Create a company with its first manager."""
    from core.accounts import companies
    from core.accounts.companies import NewCompany

    name = printable_name("name", name) if name else slug
    manager_name = person_name("manager_name", manager_name, manager_email)
    chosen, password_hash = chosen_password(password)
    new = NewCompany(
        slug=slug, name=name, time_zone=time_zone, manager_email=manager_email, manager_name=manager_name
    )
    with transaction(admin_settings()) as session:
        company = companies.add(session, new, password_hash)
    print_fields(company=company.slug, manager=manager_email, password=chosen)
