"""`milepost user`."""

import enum
from typing import Annotated

import typer

from cli.common import (
    CompanyOption,
    PasswordOption,
    admin_settings,
    chosen_password,
    person_name,
    print_fields,
    transaction,
)
from core.rules import enums

app = typer.Typer(help="Users who log in.", no_args_is_help=True)


class RoleOption(enum.StrEnum):
    """The roles of `core.models.base`, whose import would load SQLAlchemy for every ``--help``."""

    DRIVER = "driver"
    CUSTOMER = "customer"
    MANAGER = "manager"
    OPERATOR = "operator"


@app.command("add")
def user_add(
    email: Annotated[str, typer.Argument(help="E-mail address for log-in.")],
    company: CompanyOption,
    role: Annotated[RoleOption, typer.Option(help="The user's role.")],
    name: Annotated[str, typer.Option(help="Unset: the part before the @.")] = "",
    driver: Annotated[int | None, typer.Option(help="The driver's id, for role driver.")] = None,
    customer: Annotated[int | None, typer.Option(help="The customer's id, for role customer.")] = None,
    password: PasswordOption = "",
) -> None:
    """Create a user who can log in."""
    from core.access import system_actors
    from core.accounts import users
    from core.accounts.users import NewUser

    name = person_name("name", name, email)
    chosen, password_hash = chosen_password(password)
    new = NewUser(email=email, name=name, role=enums.Role(role.value), driver_id=driver, customer_id=customer)
    with transaction(admin_settings()) as session:
        user = users.add(session, system_actors.system_actor(session, company), new, password_hash)
    print_fields(id=user.id, email=user.email, role=user.role, password=chosen)
