"""Actors for what the system or the command line does in a company's name."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.errors import NotFound
from core.models.company import Company
from core.rules.enums import Role


def system_actor(session: Session, slug: str) -> Actor:
    """Whoever runs the command line acts as a manager of the company, without being a person."""
    company = session.scalar(select(Company).where(Company.slug == slug))
    if company is None:
        raise NotFound("company")
    return manager_of(company)


def system_actor_of(session: Session, company_id: int) -> Actor:
    """The same, by the company's id."""
    return manager_of(session.get_one(Company, company_id))


def manager_of(company: Company) -> Actor:
    return Actor(company_id=company.id, company_slug=company.slug, role=Role.MANAGER)
