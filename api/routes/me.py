"""The authenticated user's own account."""

from fastapi import APIRouter, Response
from starlette.concurrency import run_in_threadpool

from api.auth.hashing import HashingOf
from api.dependencies import Authorized, AuthorizedCall, SettingsOf, now
from api.http.idempotency import forbid_keeping
from api.http.openapi import CONFLICT, TOO_MANY
from api.http.route import ApiRoute
from api.schemas.people import CompanyOut, Me, MqttLoginOut, OwnPasswordIn, UserOut
from core.accounts import access, mqtt_logins, passwords, throttle, users
from core.database import row_security
from core.errors import InvalidValue, TooManyAttempts

router = APIRouter(prefix="/me", tags=["people"], route_class=ApiRoute)


@router.get("/", summary="Read your own user")
def read_me(authorized: AuthorizedCall) -> Me:
    """Read the authenticated user, with the company."""
    with authorized() as (session, actor):
        user, company = users.me(session, actor)
        return Me(**UserOut.model_validate(user).model_dump(), company=CompanyOut.model_validate(company))


@router.post("/password/", summary="Change your own password", status_code=204, responses=CONFLICT | TOO_MANY)
async def change_password(authorized: AuthorizedCall, hashing: HashingOf, body: OwnPasswordIn) -> None:
    """Change your own password. All own tokens end, this one too: log in again.

    Wrong guesses count as failed logins.
    """
    with hashing.gate.slot():
        limit, old_hash = await run_in_threadpool(_count_guess, authorized)
        # Hash between two transactions: it takes tens of milliseconds.
        if not await hashing.run(passwords.is_right, old_hash, body.current_password):
            raise InvalidValue("current_password", "is wrong")
        new_hash = await hashing.run(passwords.hash_password, body.new_password)
    await run_in_threadpool(_replace_password, authorized, limit, old_hash, new_hash)


def _count_guess(authorized: Authorized) -> tuple[throttle.Limit, str | None]:
    """Count the guess in a transaction of its own.

    It counts even when the request fails and rolls back, also with an Idempotency-Key.
    """
    with authorized.apart() as (session, actor):
        user, _ = users.me(session, actor)
        limit, old_hash = throttle.email_limit(user.email), user.password_hash
        with row_security.outside(session):
            wait_s = throttle.take(session, [limit], now())
    if wait_s:
        raise TooManyAttempts(wait_s)
    return limit, old_hash


def _replace_password(
    authorized: Authorized, limit: throttle.Limit, old_hash: str | None, new_hash: str
) -> None:
    with authorized() as (session, actor):
        access.change_own_password(session, actor, old_hash, new_hash, now())
        with row_security.outside(session):
            throttle.forgive(session, limit, [])


@router.get("/mqtt/", summary="Read your own MQTT login")
def read_mqtt_login(authorized: AuthorizedCall, settings: SettingsOf, response: Response) -> MqttLoginOut:
    """Read the own MQTT login: read-only access to the company's live facts.

    Requires the manager or operator role.
    """
    forbid_keeping(response)
    key = settings.mqtt_key.get_secret_value()
    with authorized() as (session, actor):
        return MqttLoginOut.of(mqtt_logins.mqtt_login(session, actor, key), settings.broker_url)


@router.post("/mqtt/rotate/", summary="Rotate your own MQTT login's secret")
def rotate_mqtt_secret(authorized: AuthorizedCall, settings: SettingsOf, response: Response) -> MqttLoginOut:
    """Rotate your own MQTT login's secret; the old one is refused within moments."""
    forbid_keeping(response)
    key = settings.mqtt_key.get_secret_value()
    with authorized() as (session, actor):
        return MqttLoginOut.of(mqtt_logins.rotate_mqtt_secret(session, actor, key), settings.broker_url)
