"""Actors for work that the system or the command line does on behalf of a tenant."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.errors import NotFound
from core.models.company import Company
from core.rules.enums import Role


def system_actor(session: Session, slug: str) -> Actor:
    """Return the actor of the command line: a manager of the company who is no user. Raises `NotFound`."""
    company = session.scalar(select(Company).where(Company.slug == slug))
    if company is None:
        raise NotFound("company")
    return manager_of(company)


def system_actor_of(session: Session, company_id: int) -> Actor:
    """Return the system actor of a company by its id."""
    return manager_of(session.get_one(Company, company_id))


def manager_of(company: Company) -> Actor:
    return Actor(company_id=company.id, company_slug=company.slug, role=Role.MANAGER)
