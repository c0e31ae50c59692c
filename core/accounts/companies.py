"""Companies and their settings. The first company, with its manager, is created on the command line."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.access import scoping
from core.access.actors import Actor
from core.access.system_actors import manager_of
from core.accounts import users
from core.accounts.users import NewUser
from core.deliveries.proofs import requirements
from core.errors import Conflict, InvalidValue
from core.identities import is_slug
from core.models.company import Company
from core.records import audit, outbox
from core.rules.changes import set_fields
from core.rules.enums import ProofPart, Role
from core.rules.times import time_zones


class NewCompany(msgspec.Struct, frozen=True, kw_only=True):
    """A company and its first manager."""

    slug: str
    name: str
    time_zone: str
    manager_email: str
    manager_name: str


class CompanyChanges(msgspec.Struct, frozen=True, kw_only=True):
    """A ``…_kept_days`` of None keeps data for ever."""

    name: str | UnsetType = UNSET
    time_zone: str | UnsetType = UNSET
    checkpoint_distance_m: float | UnsetType = UNSET
    checkpoint_interval_s: float | UnsetType = UNSET
    fixes_kept_days: int | UnsetType | None = UNSET
    deliveries_kept_days: int | UnsetType | None = UNSET
    proof_required: Sequence[ProofPart] | UnsetType = UNSET


def add(session: Session, new: NewCompany, password_hash: str) -> Company:
    """Create a company and its first manager, and sync both with the broker.

    Raises `InvalidValue`, `Conflict`.
    """
    if not is_slug(new.slug):
        raise InvalidValue("slug", "must be 1 to 63 of a-z, 0-9 and -, not starting with -")
    require_time_zone(new.time_zone)
    manager_email = users.clean_email(new.manager_email, "manager_email")
    company = _insert(session, Company(slug=new.slug, name=new.name, time_zone=new.time_zone))
    outbox.sync_access(session, outbox.OutboxKind.COMPANY, company.id, company.id)
    system = manager_of(company)
    audit.added(session, system, company)
    manager = NewUser(email=manager_email, name=new.manager_name, role=Role.MANAGER)
    users.add(session, system, manager, password_hash)
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


def edit(session: Session, actor: Actor, edited: CompanyChanges) -> Company:
    scoping.require_manager(actor)
    changes = set_fields(edited)
    if edited.time_zone is not UNSET:
        require_time_zone(edited.time_zone)
    if edited.proof_required is not UNSET:
        changes["proof_required"] = requirements.in_order(edited.proof_required)
    company = session.get_one(Company, actor.company_id, with_for_update={"key_share": True})
    audit.change(session, actor, company, changes)
    return company


def require_time_zone(name: str) -> None:
    if not time_zones.is_accepted(name):
        raise InvalidValue("time_zone", "must be a name of the IANA database, as in Europe/Berlin")
