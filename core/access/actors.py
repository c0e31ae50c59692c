"""Who asks: a person, an integration, or a driver's phone. Rights are decided from this alone."""

from typing import Any, Protocol

import msgspec
from sqlalchemy import ColumnElement, and_, false

from core.models.delivery import Delivery
from core.rules.enums import Role


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """``user_id`` is a person, ``device_id`` a phone, ``api_token_id`` an integration; none: the system.

    ``session_id`` is the person's log-in. ``scopes`` narrow what an integration may do; None narrows nothing.
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
        """user, token, device or system."""
        return self._identity[0]

    @property
    def identity(self) -> str | None:
        """The id among its kind; the system has none."""
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
        """Managers and operators read everything of their company."""
        return self.role in {Role.MANAGER, Role.OPERATOR}

    @property
    def sees_track(self) -> bool:
        """A van's route shows its other stops, so customers never see it."""
        return self.role is not Role.CUSTOMER


class OfSomebody(Protocol):
    """A delivery, or whatever was read of one."""

    @property
    def company_id(self) -> int: ...
    @property
    def customer_id(self) -> int: ...
    @property
    def driver_id(self) -> int | None: ...


def visible_deliveries(actor: Actor) -> ColumnElement[bool]:
    """The one place that scopes deliveries: this company's, and of them those this person may see."""
    ours = Delivery.company_id == actor.company_id
    if actor.sees_company:
        return ours
    if actor.role is Role.DRIVER:
        return and_(ours, _is(Delivery.driver_id, actor.driver_id))
    if actor.role is Role.CUSTOMER:
        return and_(ours, _is(Delivery.customer_id, actor.customer_id))
    return false()


def sees(actor: Actor, delivery: OfSomebody) -> bool:
    """`visible_deliveries` for a row that was read already; a test holds the two together."""
    if actor.company_id != delivery.company_id:
        return False
    if actor.role is Role.DRIVER:
        return actor.driver_id is not None and actor.driver_id == delivery.driver_id
    if actor.role is Role.CUSTOMER:
        return actor.customer_id is not None and actor.customer_id == delivery.customer_id
    return actor.sees_company


def _is(column: Any, value: int | None) -> ColumnElement[bool]:
    return false() if value is None else column == value
