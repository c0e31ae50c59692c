"""Companies and their settings. The first company, with its manager, is created on the command line."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.access import scoping
from core.access.actors import Actor
from core.access.system_actors import manager_of
from core.accounts import users
from core.deliveries.proofs import requirements
from core.errors import Conflict, InvalidValue
from core.identities import is_slug
from core.models.company import Company
from core.records import audit, outbox
from core.rules.enums import Role
from core.rules.times import time_zones


def add(
    session: Session,
    slug: str,
    name: str,
    time_zone: str,
    manager_email: str,
    manager_name: str,
    password_hash: str,
) -> Company:
    """Create a company and its first manager, and sync both with the broker.

    Raises `InvalidValue`, `Conflict`.
    """
    if not is_slug(slug):
        raise InvalidValue("slug", "must be 1 to 63 of a-z, 0-9 and -, not starting with -")
    require_time_zone(time_zone)
    manager_email = users.clean_email(manager_email, "manager_email")
    company = _insert(session, Company(slug=slug, name=name, time_zone=time_zone))
    outbox.sync_access(session, outbox.OutboxKind.COMPANY, company.id, company.id)
    system = manager_of(company)
    audit.added(session, system, company)
    users.add(
        session,
        system,
        email=manager_email,
        name=manager_name,
        role=Role.MANAGER,
        password_hash=password_hash,
    )
    return company


def _insert(session: Session, company: Company) -> Company:
    try:
        with session.begin_nested():
            session.add(company)
    except IntegrityError:
        raise Conflict("A company with that slug exists.", field="slug") from None
    return company


def find(session: Session, actor: Actor) -> Company:
    """Return the actor's own company; no other company is accessible."""
    scoping.require_company_reader(actor)
    return session.get_one(Company, actor.company_id)


def edit(session: Session, actor: Actor, values: Mapping[str, Any]) -> Company:
    """Set ``name``, ``time_zone``, ``checkpoint_distance_m``, ``checkpoint_interval_s``, ``…_kept_days``.

    ``proof_required`` takes names of `core.rules.enums.ProofPart`.
    """
    scoping.require_manager(actor)
    if "time_zone" in values:
        require_time_zone(values["time_zone"])
    if "proof_required" in values:
        values = {**values, "proof_required": requirements.in_order(values["proof_required"])}
    company = session.get_one(Company, actor.company_id, with_for_update={"key_share": True})
    audit.change(session, actor, company, values)
    return company


def require_time_zone(name: str) -> None:
    if not time_zones.is_accepted(name):
        raise InvalidValue("time_zone", "must be a name of the IANA database, as in Europe/Berlin")
