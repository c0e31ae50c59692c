"""Settings of the caller's company."""

from fastapi import APIRouter

from api.dependencies import AuthorizedCall
from api.http.route import ApiRoute
from api.schemas.people import CompanyPatch, CompanySettings
from core.accounts import companies
from core.accounts.companies import CompanyChanges

router = APIRouter(prefix="/company", tags=["people"], route_class=ApiRoute)


@router.get("/", summary="Read your company's settings")
def read_company(authorized: AuthorizedCall) -> CompanySettings:
    """Read the company's settings. Requires the manager or operator role."""
    with authorized() as (session, actor):
        return CompanySettings.model_validate(companies.find(session, actor))


@router.patch("/", summary="Change your company's settings")
def edit_company(authorized: AuthorizedCall, body: CompanyPatch) -> CompanySettings:
    """Change the company's settings. Requires the manager role.

    The checkpoint policy applies from the next fix on. A shorter ``…_kept_days`` purges older data within a
    few hours, for good; null keeps data for ever.
    """
    with authorized() as (session, actor):
        return CompanySettings.model_validate(companies.edit(session, actor, body.to(CompanyChanges)))
