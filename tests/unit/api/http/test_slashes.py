"""One path, with and without its slash."""

import pytest

from api.app import _paths, create_app
from api.http.slashes import declared_form, slash_table
from tests.support.services.settings import make_settings

TABLE = slash_table(["/deliveries/", "/deliveries/{delivery_id}/status/", "/auth/token", "/healthz"])


@pytest.mark.parametrize(
    ("path", "declared"),
    [
        ("/deliveries", "/deliveries/"),
        ("/deliveries/", "/deliveries/"),
        ("/deliveries/4/status", "/deliveries/4/status/"),
        ("/auth/token/", "/auth/token"),
        ("/healthz/", "/healthz"),
        ("/assets/app.js", "/assets/app.js"),
        ("/assets/", "/assets/"),
        ("/", "/"),
        ("", ""),
    ],
)
def test_path_takes_the_form_its_route_was_declared_in(path: str, declared: str) -> None:
    assert declared_form(path, TABLE) == declared


def test_routes_that_disagree_are_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="agree"):
        slash_table(["/me/", "/me/mqtt"])


def test_every_route_of_ours_is_in_the_table() -> None:
    document = create_app(make_settings("postgresql://nobody@127.0.0.1:1/none")).openapi()
    assert {path.split("/")[1] for path in document["paths"]} <= slash_table(_paths()).keys()
