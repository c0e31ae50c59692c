"""One user's REST client: logs in when necessary, and tells a refusal from an API that is away."""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from local import loopback

TIMEOUT_S = 10.0


class RequestRefused(Exception):
    """A 4xx: a repetition would be refused again. ``problem`` is its application/problem+json body."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(f"{status} {problem.get('detail') or problem.get('title') or ''}".strip())
        self.status = status
        self.problem = problem

    @property
    def missing(self) -> list[str]:
        """Return the parts of a proof that the company requires, if they are the reason of the refusal."""
        return list(self.problem.get("missing") or ())


class Away(Exception):
    """No answer, or a 5xx: the same request may succeed later."""


class Rest:
    """For one thread at a time."""

    def __init__(self, base_url: str, email: str, password: str) -> None:
        self.email = email
        self._base_url = base_url
        self._password = password
        self._token = ""

    def get(self, path: str) -> Any:
        """GET and decode JSON. Raises `RequestRefused` or `Away`."""
        return self._authorized("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """POST JSON. Raises `RequestRefused` or `Away`."""
        return self.send(path, json.dumps(body).encode(), "application/json")

    def send(self, path: str, body: bytes, content_type: str) -> Any:
        """POST a body of any content type. Raises `RequestRefused` or `Away`."""
        return self._authorized("POST", path, body, content_type)

    def _authorized(
        self, method: str, path: str, body: bytes | None, content_type: str = "application/json"
    ) -> Any:
        if not self._token:
            self._log_in()
        try:
            return self._call(method, path, body, content_type)
        except RequestRefused as refused:
            if refused.status != 401:
                raise
        self._log_in()
        return self._call(method, path, body, content_type)

    def _log_in(self) -> None:
        form = urllib.parse.urlencode({"username": self.email, "password": self._password}).encode()
        self._token = ""
        answer = self._call("POST", "/auth/token", form, "application/x-www-form-urlencoded")
        self._token = answer["access_token"]

    def _call(self, method: str, path: str, body: bytes | None, kind: str = "application/json") -> Any:
        headers = {"Content-Type": kind} if body is not None else {}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(  # noqa: S310  # our own API, by http
            self._base_url + path, data=body, headers=headers, method=method
        )
        try:
            with loopback.request(request, timeout_s=TIMEOUT_S) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(error) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Away(str(error)) from None


def _refusal(error: urllib.error.HTTPError) -> RequestRefused | Away:
    # 429 is the rate limit, which passes with time, as an unavailable API does.
    if error.code >= 500 or error.code == 429:
        return Away(f"{error.code} {error.reason}")
    try:
        problem = json.load(error)
    except (OSError, ValueError, http.client.HTTPException):
        problem = {}
    return RequestRefused(error.code, problem if isinstance(problem, dict) else {})
