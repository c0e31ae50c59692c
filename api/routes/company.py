"""The company of the person who asks."""

from fastapi import APIRouter

from api.dependencies import AuthorizedCall
from api.http.idempotency import OnceRoute
from api.schemas.people import CompanyPatch, CompanySettings
from core.accounts import companies

router = APIRouter(prefix="/company", tags=["people"], route_class=OnceRoute)


@router.get("/", summary="Read the own company's settings")
def read_company(authorized: AuthorizedCall) -> CompanySettings:
    """For managers and operators."""
    with authorized() as (session, actor):
        return CompanySettings.model_validate(companies.find(session, actor))


@router.patch("/", summary="Change the own company's settings")
def edit_company(authorized: AuthorizedCall, body: CompanyPatch) -> CompanySettings:
    """By a manager. The checkpoint policy holds from the next fix on.

    Shorter ``…_kept_days`` remove what is older within a few hours, for good; null keeps it for ever.
    """
    values = body.sent()
    with authorized() as (session, actor):
        return CompanySettings.model_validate(companies.edit(session, actor, values))
