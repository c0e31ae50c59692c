"""Users over REST: managers write them, operators read them."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from starlette.concurrency import run_in_threadpool

from api.auth.hashing import HashingOf, new_hash
from api.dependencies import Authorized, AuthorizedCall, now
from api.http import cursors
from api.http.idempotency import forbid_keeping
from api.http.openapi import CONFLICT
from api.http.route import ApiRoute
from api.schemas.fields import PathId
from api.schemas.pages import Page
from api.schemas.people import LinkOut, PasswordIn, UserIn, UserOut, UserPatch, UserQuery
from core.accounts import access, invitations, users
from core.accounts.users import UserChanges

router = APIRouter(prefix="/users", tags=["people"], route_class=ApiRoute)


@router.get("/", summary="List users")
def list_users(authorized: AuthorizedCall, query: Annotated[UserQuery, Query()]) -> Page[UserOut]:
    """List users. Requires the manager or operator role."""
    with authorized() as (session, actor):
        rows = users.page(
            session, actor, after=cursors.number_key(query.cursor), limit=query.limit + 1, role=query.role
        )
        shown, following = cursors.cut(rows, query.limit, lambda row: row.id)
        return Page(items=[UserOut.model_validate(row) for row in shown], next=following)


@router.post("/", summary="Add a user", status_code=201, responses=CONFLICT)
async def add_user(
    authorized: AuthorizedCall, hashing: HashingOf, body: UserIn, response: Response
) -> UserOut:
    """Add a user. 409 when the e-mail address is in use, or the driver has a user already."""
    password_hash = await new_hash(authorized, hashing, body.password)
    return await run_in_threadpool(_add_user, authorized, body, password_hash, response)


def _add_user(authorized: Authorized, body: UserIn, password_hash: str, response: Response) -> UserOut:
    with authorized() as (session, actor):
        user = users.add(session, actor, body.new(), password_hash)
        response.headers["Location"] = f"/users/{user.id}/"
        return UserOut.model_validate(user)


@router.get("/{user_id}/", summary="Read a user")
def read_user(authorized: AuthorizedCall, user_id: PathId) -> UserOut:
    """Read a user. Requires the manager or operator role."""
    with authorized() as (session, actor):
        return UserOut.model_validate(users.find(session, actor, user_id))


@router.patch("/{user_id}/", summary="Change a user's name or e-mail", responses=CONFLICT)
def edit_user(authorized: AuthorizedCall, user_id: PathId, body: UserPatch) -> UserOut:
    """Change a user. Requires the manager role. 409 when the e-mail address is in use."""
    with authorized() as (session, actor):
        user = users.edit(session, actor, user_id, body.to(UserChanges), now())
        return UserOut.model_validate(user)


@router.post("/{user_id}/password/", summary="Set a user's password", status_code=204)
async def set_password(
    authorized: AuthorizedCall, hashing: HashingOf, user_id: PathId, body: PasswordIn
) -> None:
    """Set the user's password. All of the user's tokens end."""
    password_hash = await new_hash(authorized, hashing, body.password)
    await run_in_threadpool(_set_password, authorized, user_id, password_hash)


def _set_password(authorized: Authorized, user_id: int, password_hash: str) -> None:
    with authorized() as (session, actor):
        access.set_password(session, actor, user_id, password_hash, now())


@router.post("/{user_id}/reset/", summary="Create a link to set a new password", responses=CONFLICT)
def make_reset_link(authorized: AuthorizedCall, user_id: PathId, response: Response) -> LinkOut:
    """Make a link to set a forgotten password, valid for 24 hours.

    409 for a user who is disabled, or invited and without a password yet.
    """
    forbid_keeping(response)
    with authorized() as (session, actor):
        return LinkOut.model_validate(invitations.make_reset_link(session, actor, user_id, now()))


@router.post("/{user_id}/disable/", summary="Disable a user", responses=CONFLICT)
def disable_user(authorized: AuthorizedCall, user_id: PathId) -> UserOut:
    """Disable the user, with all tokens and the MQTT login. 409 for the last manager."""
    with authorized() as (session, actor):
        return UserOut.model_validate(access.disable(session, actor, user_id, now()))


@router.post("/{user_id}/enable/", summary="Enable a user", responses=CONFLICT)
def enable_user(authorized: AuthorizedCall, user_id: PathId) -> UserOut:
    """Enable the user. 409 while the user's driver or customer is archived."""
    with authorized() as (session, actor):
        return UserOut.model_validate(access.enable(session, actor, user_id))
