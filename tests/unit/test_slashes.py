"""One path, with and without its slash."""

import pytest

from api.app import ROUTERS, _paths
from api.slashes import declared_form, slash_table

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
    assert len(slash_table(_paths())) >= len(ROUTERS)
