"""Expected errors: one base class; each error has its HTTP status and its facts."""

from typing import Any, ClassVar


class DomainError(Exception):
    """An expected refusal. Clients match on ``name``, which is stable; ``facts`` are the error's values."""

    status_code: ClassVar[int] = 400
    title: ClassVar[str] = "The request cannot be done"

    def __init__(self, detail: str, **facts: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts

    @property
    def name(self) -> str:
        return type(self).__name__


class NotFound(DomainError):
    """Missing, another tenant's, or not visible to the actor; the client cannot tell which."""

    status_code = 404
    title = "Not found"

    def __init__(self, what: str = "resource") -> None:
        super().__init__(f"No such {what}.")


class Forbidden(DomainError):
    status_code = 403
    title = "Not allowed"


class Conflict(DomainError):
    status_code = 409
    title = "Conflicts with the present state"


class InvalidTransition(Conflict):
    title = "That status change is not allowed"

    def __init__(self, current: str, requested: str, allowed: list[str]) -> None:
        choices = ", ".join(allowed) or "none"
        super().__init__(
            f"A delivery that is {current} cannot become {requested}; allowed: {choices}.",
            current=current,
            requested=requested,
            allowed=allowed,
        )


class PreconditionFailed(DomainError):
    """Optimistic locking: the row has changed since the client read it; ``version`` is its present one."""

    status_code = 412
    title = "Changed meanwhile"

    def __init__(self, version: int) -> None:
        super().__init__(f"It is at version {version} by now: read it again.", version=version)


class InvalidValue(DomainError):
    """The value of ``field`` breaks a rule."""

    status_code = 422
    title = "A value cannot be used"

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail, errors=[{"field": field, "message": detail}])


class NotAuthenticated(DomainError):
    """No valid credentials. The body is the same for every cause, so that a client cannot learn it."""

    status_code = 401
    title = "Not authenticated"

    def __init__(self) -> None:
        super().__init__("Send a valid access token: Authorization: Bearer <token>.")


class TooManyAttempts(DomainError):
    """The client is throttled. The body is the same for known and unknown e-mail addresses."""

    status_code = 429
    title = "Too many attempts"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("Too many attempts: try again later.", retry_after_s=retry_after_s)


class LoginRefused(DomainError):
    """The body is the same for an unknown e-mail address, a wrong password and a disabled user."""

    status_code = 401
    title = "Log-in refused"

    def __init__(self) -> None:
        super().__init__("The e-mail or the password is wrong.")
