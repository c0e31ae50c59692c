"""The scope an API token needs per route, in one table. A route that is not listed takes no API token.

Left out on purpose: routes that create or change users, passwords and API tokens, that show secrets, or that
erase for good.
"""

from collections.abc import Iterable, Mapping

from core.access.actors import Actor
from core.accounts.api_tokens import Scope
from core.errors import Forbidden

RouteKey = tuple[str, str]  # method and path template
WATCH: RouteKey = ("WEBSOCKET", "/ws/delivery/{delivery_id}/")


def _resource(path: str, key: str, read: Scope, write: Scope) -> dict[RouteKey, Scope]:
    """Return the scopes to list, add, read, change, archive and restore a resource."""
    return {
        ("GET", path): read,
        ("POST", path): write,
        ("GET", f"{path}{{{key}}}/"): read,
        ("PATCH", f"{path}{{{key}}}/"): write,
        ("POST", f"{path}{{{key}}}/archive/"): write,
        ("POST", f"{path}{{{key}}}/restore/"): write,
    }


def _each(scope: Scope, routes: Iterable[RouteKey]) -> dict[RouteKey, Scope]:
    return dict.fromkeys(routes, scope)


DELIVERY = "/deliveries/{delivery_id}/"
TEMPLATE = "/notifications/templates/{event}/{audience}/"
NEEDED: Mapping[RouteKey, Scope] = {
    **_each(
        Scope.DELIVERIES_READ,
        [
            ("GET", "/deliveries/"),
            ("GET", DELIVERY),
            ("GET", f"{DELIVERY}checkpoints/"),
            ("GET", f"{DELIVERY}track/"),
            ("GET", f"{DELIVERY}report/"),
            ("GET", f"{DELIVERY}proofs/"),
            ("GET", f"{DELIVERY}proofs/{{proof_id}}/"),
            ("GET", f"{DELIVERY}proofs/{{proof_id}}/images/{{number}}/"),
            WATCH,
        ],
    ),
    **_each(
        Scope.DELIVERIES_WRITE,
        [
            ("POST", "/deliveries/"),
            ("PUT", DELIVERY),
            ("PATCH", DELIVERY),
            ("POST", f"{DELIVERY}status/"),
            ("POST", f"{DELIVERY}proofs/"),
        ],
    ),
    ("POST", f"{DELIVERY}location/"): Scope.LOCATION_WRITE,
    **_resource("/customers/", "customer_id", Scope.CUSTOMERS_READ, Scope.CUSTOMERS_WRITE),
    **_resource("/vehicles/", "vehicle_id", Scope.FLEET_READ, Scope.FLEET_WRITE),
    **_each(
        Scope.FLEET_READ, [("GET", "/devices/"), ("GET", "/devices/{device_id}/"), ("GET", "/quarantine/")]
    ),
    **_each(
        Scope.FLEET_WRITE,
        [
            ("POST", "/devices/"),
            ("PATCH", "/devices/{device_id}/"),
            ("POST", "/devices/{device_id}/disable/"),
            ("POST", "/devices/{device_id}/enable/"),
        ],
    ),
    **_each(Scope.LOADS_READ, [("GET", "/load-orders/"), ("GET", "/load-orders/{load_order_id}/")]),
    **_each(
        Scope.LOADS_WRITE,
        [
            ("POST", "/load-orders/"),
            ("PATCH", "/load-orders/{load_order_id}/"),
            ("DELETE", "/load-orders/{load_order_id}/"),
        ],
    ),
    **_each(
        Scope.PEOPLE_READ,
        [
            ("GET", "/drivers/"),
            ("GET", "/drivers/{driver_id}/"),
            ("GET", "/users/"),
            ("GET", "/users/{user_id}/"),
        ],
    ),
    **_each(
        Scope.NOTIFICATIONS_READ,
        [
            ("GET", "/notifications/"),
            ("GET", "/notifications/{notification_id}/"),
            ("GET", "/notifications/settings/"),
            ("GET", "/notifications/templates/"),
            ("GET", TEMPLATE),
            ("GET", "/webhooks/"),
            ("GET", "/webhooks/{webhook_id}/"),
        ],
    ),
    **_each(
        Scope.NOTIFICATIONS_WRITE,
        [
            ("POST", "/notifications/{notification_id}/resend/"),
            ("PATCH", "/notifications/settings/"),
            ("PUT", TEMPLATE),
            ("DELETE", TEMPLATE),
            ("POST", f"{TEMPLATE}preview/"),
            ("PATCH", "/webhooks/{webhook_id}/"),
            ("DELETE", "/webhooks/{webhook_id}/"),
            ("POST", "/webhooks/{webhook_id}/disable/"),
            ("POST", "/webhooks/{webhook_id}/enable/"),
            ("POST", "/webhooks/{webhook_id}/test/"),
        ],
    ),
    ("GET", "/company/"): Scope.COMPANY_READ,
    ("GET", "/audit/"): Scope.AUDIT_READ,
    **_each(Scope.REPORTS_READ, [("GET", "/reports/daily/"), ("GET", "/reports/daily/{day}/")]),
}


def require(actor: Actor, route: RouteKey) -> None:
    """Raise `Forbidden` for an API token without the route's scope. Users have no scopes and need none."""
    if actor.scopes is None:
        return
    needed = NEEDED.get(route)
    if needed is None:
        raise Forbidden("No API token may do this: log in.")
    if needed not in actor.scopes:
        raise Forbidden(f"The API token lacks the scope {needed}.", scope=needed.value)
