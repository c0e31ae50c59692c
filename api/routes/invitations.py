"""Invitations of users. Requires the manager role."""

from fastapi import APIRouter, Response

from api.dependencies import AuthorizedCall, now
from api.http.idempotency import forbid_keeping
from api.http.openapi import CONFLICT
from api.http.route import ApiRoute
from api.schemas.fields import PathId
from api.schemas.people import InvitationIn, InvitationOut
from core.accounts import invitations
from core.accounts.users import NewUser

router = APIRouter(prefix="/invitations", tags=["people"], route_class=ApiRoute)


@router.post("/", summary="Invite a person", status_code=201, responses=CONFLICT)
def invite(authorized: AuthorizedCall, body: InvitationIn, response: Response) -> InvitationOut:
    """Create a user without a password, and a token to set one with `POST /auth/set-password`.

    The token is shown only here and works once, for 7 days. 409 when the e-mail address is in use, or the
    driver has a user already.
    """
    forbid_keeping(response)
    with authorized() as (session, actor):
        invitation = invitations.invite(session, actor, body.to(NewUser), now())
        response.headers["Location"] = f"/users/{invitation.user.id}/"
        return InvitationOut.of(invitation)


@router.post("/{user_id}/renew/", summary="Invite a person again", responses=CONFLICT)
def renew_invitation(authorized: AuthorizedCall, user_id: PathId, response: Response) -> InvitationOut:
    """Issue a new token; the old one ends. 409 once the user has a password, or while it is disabled."""
    forbid_keeping(response)
    with authorized() as (session, actor):
        return InvitationOut.of(invitations.renew(session, actor, user_id, now()))


@router.delete("/{user_id}/", summary="Withdraw an invitation", status_code=204, responses=CONFLICT)
def withdraw_invitation(authorized: AuthorizedCall, user_id: PathId) -> None:
    """Delete the invited user; the e-mail address is free again. 409 once the user has a password."""
    with authorized() as (session, actor):
        invitations.withdraw(session, actor, user_id)
