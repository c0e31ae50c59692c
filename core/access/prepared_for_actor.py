"""Prepared statements whose conditions depend on the actor's rights."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Select
from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.database.prepared import PROBES, Named, Rows, compiled, run_named
from core.rules.enums import Role


class PreparedForActor:
    """A statement whose conditions depend on the actor, compiled once for each kind of actor."""

    def __init__(self, name: str, build: Callable[[Actor], Select[*tuple[Any, ...]]]) -> None:
        self._name = name
        self._build = build
        self._known: dict[tuple[Any, ...], tuple[Named, dict[str, str]]] = {}

    def run(self, session: Session, actor: Actor, **values: Any) -> Rows:
        statement, names = self._for(actor.role, actor.driver_id is None, actor.customer_id is None)
        own = {name: getattr(actor, field) for name, field in names.items()}
        return run_named(session, statement, values | own)

    def _for(self, role: Role, no_driver: bool, no_customer: bool) -> tuple[Named, dict[str, str]]:
        kind = (role, no_driver, no_customer)
        if kind not in self._known:
            probe = Actor(
                company_id=PROBES["company_id"],
                company_slug="",
                role=role,
                driver_id=None if no_driver else PROBES["driver_id"],
                customer_id=None if no_customer else PROBES["customer_id"],
            )
            text, values = compiled(self._build(probe))
            fields = {probed: field for field, probed in PROBES.items()}
            name = f"{self._name}_{role.value}_{int(no_driver)}{int(no_customer)}"
            own = {parameter: fields[v] for parameter, v in values.items() if v in fields}
            self._known[kind] = Named(name, text), own
        return self._known[kind]
