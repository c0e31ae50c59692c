"""Prepared statements whose conditions depend on the actor's rights."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Select
from sqlalchemy.orm import Session

from core.access.actors import ACTOR_FIELD, Actor
from core.database.prepared import Prepared, Rows


class PreparedForActor:
    """A statement whose conditions depend on the actor, compiled once for each kind of actor."""

    def __init__(self, name: str, build: Callable[[Actor], Select[*tuple[Any, ...]]]) -> None:
        self._name = name
        self._build = build
        self._known: dict[tuple[object, ...], tuple[Prepared, dict[str, str]]] = {}

    def run(self, session: Session, actor: Actor, **values: Any) -> Rows:
        kind = (actor.role, actor.driver_id is None, actor.customer_id is None)
        if kind not in self._known:
            self._known[kind] = self._compile(actor)
        prepared, own = self._known[kind]
        return prepared.run(session, **values, **{name: getattr(actor, field) for name, field in own.items()})

    def _compile(self, actor: Actor) -> tuple[Prepared, dict[str, str]]:
        """Return the statement for this kind of actor, and the actor's fields by parameter."""
        kind = f"{int(actor.driver_id is None)}{int(actor.customer_id is None)}"
        prepared = Prepared(f"{self._name}_{actor.role.value}_{kind}", self._build(actor))
        own = [name for name in prepared.named.fields if name.startswith(ACTOR_FIELD)]
        return prepared, {name: name.removeprefix(ACTOR_FIELD) for name in own}
