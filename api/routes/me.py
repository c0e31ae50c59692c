"""The person who asks."""

from fastapi import APIRouter, Response

from api.dependencies import AuthorizedCall, SettingsOf, now
from api.idempotency import OnceRoute, forbid_keeping
from api.openapi import CONFLICT, TOO_MANY
from api.schemas.people import CompanyOut, Me, MqttLoginOut, OwnPasswordIn, UserOut
from core import isolation, passwords, throttle, users
from core.errors import InvalidValue, TooManyAttempts

router = APIRouter(prefix="/me", tags=["people"], route_class=OnceRoute)


@router.get("/", summary="Who am I?")
def read_me(authorized: AuthorizedCall) -> Me:
    """The person whose token it is, with its company."""
    with authorized() as (session, actor):
        user, company = users.me(session, actor)
        return Me(**UserOut.model_validate(user).model_dump(), company=CompanyOut.model_validate(company))


@router.post("/password/", summary="Change the own password", status_code=204, responses=CONFLICT | TOO_MANY)
def change_password(authorized: AuthorizedCall, body: OwnPasswordIn) -> None:
    """All own tokens end, this one too: log in again. Wrong guesses count as failed log-ins."""
    with authorized() as (session, actor):
        user, _ = users.me(session, actor)
        limit = throttle.email_limit(user.email)
        with isolation.outside(session):
            wait_s = throttle.take(session, [limit], now())
    if wait_s:
        raise TooManyAttempts(wait_s)
    old_hash = user.password_hash
    # Between two transactions: hashing takes tens of milliseconds.
    if not passwords.is_right(old_hash, body.current_password):
        raise InvalidValue("current_password", "is wrong")
    new_hash = passwords.hash_password(body.new_password)
    with authorized() as (session, actor):
        users.change_own_password(session, actor, old_hash, new_hash, now())
        with isolation.outside(session):
            throttle.forgive(session, limit, [])


@router.get("/mqtt/", summary="The own MQTT login")
def read_mqtt_login(authorized: AuthorizedCall, settings: SettingsOf, response: Response) -> MqttLoginOut:
    """For managers and operators: read-only access to the company's live facts."""
    forbid_keeping(response)
    key = settings.mqtt_key.get_secret_value()
    with authorized() as (session, actor):
        return MqttLoginOut.of(users.mqtt_login(session, actor, key))


@router.post("/mqtt/rotate/", summary="Give the own MQTT login a new secret")
def rotate_mqtt_secret(authorized: AuthorizedCall, settings: SettingsOf, response: Response) -> MqttLoginOut:
    """The old one is refused within moments."""
    forbid_keeping(response)
    key = settings.mqtt_key.get_secret_value()
    with authorized() as (session, actor):
        return MqttLoginOut.of(users.rotate_mqtt_secret(session, actor, key))
