"""The actor: a user, an API token, a driver's phone or the system. Access is decided from it alone."""

from typing import Any, Protocol

import msgspec
from sqlalchemy import ColumnElement, and_, bindparam, false

from core.models.delivery import Delivery
from core.rules.enums import Role

ACTOR_FIELD = "actor_"  # begins the parameters of `visible_deliveries`; the rest is a field of `Actor`


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """A user (``user_id``), API token (``api_token_id``) or phone (``device_id``); with none the system.

    ``session_id`` is the user's log-in session. ``scopes`` restrict an API token; None is no restriction.
    """

    company_id: int
    company_slug: str
    role: Role
    user_id: int | None = None
    driver_id: int | None = None
    customer_id: int | None = None
    device_id: str | None = None
    session_id: int | None = None
    api_token_id: int | None = None
    scopes: frozenset[str] | None = None

    @property
    def kind(self) -> str:
        """Return ``user``, ``token``, ``device`` or ``system``."""
        return self._identity[0]

    @property
    def identity(self) -> str | None:
        """Return the id within `kind`, or None for the system."""
        return self._identity[1]

    @property
    def _identity(self) -> tuple[str, str | None]:
        for kind, key in (("user", self.user_id), ("token", self.api_token_id), ("device", self.device_id)):
            if key is not None:
                return kind, str(key)
        return "system", None

    @property
    def manages(self) -> bool:
        return self.role is Role.MANAGER

    @property
    def sees_company(self) -> bool:
        """Return whether the actor reads all rows of its tenant, as managers and operators do."""
        return self.role in {Role.MANAGER, Role.OPERATOR}

    @property
    def sees_track(self) -> bool:
        """Return whether the actor may see tracks."""
        # A vehicle's route shows its stops at other customers.
        return self.role is not Role.CUSTOMER


class AccessColumns(Protocol):
    """A delivery, or a row with the columns by which access to it is decided."""

    @property
    def company_id(self) -> int: ...
    @property
    def customer_id(self) -> int: ...
    @property
    def driver_id(self) -> int | None: ...


def visible_deliveries(actor: Actor) -> ColumnElement[bool]:
    """Return the condition for the deliveries of its tenant that the actor may see."""
    # Deliveries are scoped here and nowhere else.
    ours = _is(Delivery.company_id, actor, "company_id")
    if actor.sees_company:
        return ours
    if actor.role is Role.DRIVER:
        return and_(ours, _is(Delivery.driver_id, actor, "driver_id"))
    if actor.role is Role.CUSTOMER:
        return and_(ours, _is(Delivery.customer_id, actor, "customer_id"))
    return false()


def sees(actor: Actor, delivery: AccessColumns) -> bool:
    """Return whether the actor may see a delivery that has been read already."""
    # The same rule as `visible_deliveries`; a test checks that the two agree.
    if actor.company_id != delivery.company_id:
        return False
    if actor.role is Role.DRIVER:
        return actor.driver_id is not None and actor.driver_id == delivery.driver_id
    if actor.role is Role.CUSTOMER:
        return actor.customer_id is not None and actor.customer_id == delivery.customer_id
    return actor.sees_company


def _is(column: Any, actor: Actor, field: str) -> ColumnElement[bool]:
    value = getattr(actor, field)
    # Named, so that a prepared statement finds the parameter that takes another actor's id.
    return false() if value is None else column == bindparam(f"{ACTOR_FIELD}{field}", value)
