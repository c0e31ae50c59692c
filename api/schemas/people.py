"""Users, the authenticated user, and the company."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, Strict

from api.schemas.fields import BrokerUrl, Email, Input, Line, Output, Password, Positive, RowId, whole
from api.schemas.pages import PageQuery
from broker import topics
from core.accounts.invitations import Invitation
from core.accounts.mqtt_logins import MqttLogin
from core.accounts.users import NewUser
from core.rules.enums import ProofPart, Role

MAXIMUM_DAYS = 36_500
# A week at least: the last days' reports are restated when phones deliver a backlog of fixes.
FixDays = Annotated[int, Strict(), Field(ge=7, le=MAXIMUM_DAYS), BeforeValidator(whole)]
DeliveryDays = Annotated[int, Strict(), Field(ge=30, le=MAXIMUM_DAYS), BeforeValidator(whole)]


class Tokens(Output):
    """New tokens. ``expires_in`` is the access token's lifetime in seconds."""

    access_token: str
    refresh_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  # OAuth2's word, no secret
    expires_in: int


class RefreshIn(Input):
    refresh_token: Annotated[str, Field(max_length=2048)]


class LogOutQuery(Input):
    everywhere: Annotated[bool, Field(description="End every log-in of this person.")] = False


class ResetIn(Input):
    email: Email


class LinkPasswordIn(Input):
    token: Annotated[str, Field(max_length=100)]
    password: Password


class InvitationIn(Input):
    """A user to invite. A driver needs ``driver_id``, a customer ``customer_id``, other roles neither."""

    email: Email
    name: Line
    role: Role
    driver_id: RowId | None = None
    customer_id: RowId | None = None


class UserIn(Input):
    """A new user. A driver needs ``driver_id``, a customer ``customer_id``, other roles neither."""

    email: Email
    name: Line
    role: Role
    password: Password
    driver_id: RowId | None = None
    customer_id: RowId | None = None

    def new(self) -> NewUser:
        return NewUser(**self.model_dump(exclude={"password"}))


class UserPatch(Input):
    """An edit of a user. Role and company never change."""

    email: Email = Field(default_factory=str)
    name: Line = Field(default_factory=str)


class UserQuery(PageQuery):
    role: Role | None = None


class UserOut(Output):
    id: int
    email: str
    name: str
    role: Role
    driver_id: int | None
    customer_id: int | None
    invited: Annotated[bool, Field(description="Has not set a password yet.")]
    disabled_at: datetime | None
    created_at: datetime


class LinkOut(Output):
    """A link to set a password. ``token`` is shown only here and works once: `POST /auth/set-password`."""

    token: str
    expires_at: datetime


class InvitationOut(Output):
    user: UserOut
    link: LinkOut

    @classmethod
    def of(cls, invitation: Invitation) -> Self:
        return cls(user=UserOut.model_validate(invitation.user), link=LinkOut.model_validate(invitation.link))


class PasswordIn(Input):
    password: Password


class OwnPasswordIn(Input):
    current_password: Annotated[str, Field(max_length=1000)]
    new_password: Password


class CompanyOut(Output):
    slug: str
    name: str
    time_zone: str


class CompanySettings(CompanyOut):
    """The company's settings. A location checkpoint is due after this distance or this time; 0: every fix.

    Positions older than ``fixes_kept_days`` are purged, deliveries with all that belongs to them
    ``deliveries_kept_days`` after their end; null: never.
    """

    checkpoint_distance_m: float
    checkpoint_interval_s: float
    fixes_kept_days: int | None
    deliveries_kept_days: int | None
    proof_required: list[ProofPart]


class CompanyPatch(Input):
    name: Line = Field(default_factory=str)
    time_zone: Annotated[Line, Field(examples=["Europe/Berlin"])] = Field(default_factory=str)
    checkpoint_distance_m: Positive = Field(default_factory=float)
    checkpoint_interval_s: Positive = Field(default_factory=float)
    fixes_kept_days: FixDays | None = None
    deliveries_kept_days: DeliveryDays | None = None
    proof_required: Annotated[
        list[ProofPart],
        Field(
            max_length=len(ProofPart), description="parts of a proof that `delivered` requires; empty: none"
        ),
    ] = Field(default_factory=list)


class Me(UserOut):
    company: CompanyOut


class MqttLoginOut(Output):
    """An MQTT login. Subscribe to ``topics`` with QoS 1.

    Facts are retained messages, so the whole fleet's state arrives at once.
    """

    broker_url: BrokerUrl
    user_name: str
    secret: str
    topics: list[str]

    @classmethod
    def of(cls, login: MqttLogin, broker_url: str) -> Self:
        return cls(
            broker_url=broker_url,
            user_name=login.user_name,
            secret=login.secret,
            topics=[topics.company_filter(login.company)],
        )
