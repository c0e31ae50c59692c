"""The banner of `milepost up`, printed when everything runs. Pure."""

from pathlib import Path

DEMO_LOGINS = (
    "manager@demo.example",
    "operator@demo.example",
    "driver1@demo.example",
    "customer1@demo.example",
)


def render(
    *,
    http_url: str,
    mqtt_port: int,
    data_dir: Path,
    command: str,
    password: str,
    operator: tuple[str, str] | None,
    companies: int = 0,
) -> str:
    """Return the banner. ``command`` is how to run `milepost`, ``operator`` the demo operator's MQTT login,
    if any.

    ``companies`` is the number in the database, the demo's included if an earlier run created it.
    """
    lines = [
        "",
        "Milepost runs. Ctrl-C stops it.",
        f"  API and its documentation  {http_url}/docs",
        f"  MQTT                       mqtt://127.0.0.1:{mqtt_port}",
        f"  logs                       {data_dir / 'logs'}",
    ]
    if operator is None:
        return "\n".join([*lines, *_first_steps(command, companies), ""])
    user, secret = operator
    lines += [f"  password                   {password}   for each of"]
    lines += [f"                             {login}" for login in DEMO_LOGINS]
    lines += [
        "  the fleet as it moves:",
        f"    mosquitto_sub -h 127.0.0.1 -p {mqtt_port} -u {user} -P '{secret}' -t 'fleet/demo/#' -v",
        "",
    ]
    return "\n".join(lines)


def _first_steps(command: str, companies: int) -> list[str]:
    holds = {0: "It is empty", 1: "It holds one company"}.get(companies, f"It holds {companies} companies")
    which = "a" if companies == 0 else "another"
    return [
        f"  {holds}. In another terminal, {which} company with its first manager:",
        f"    {command} company add my-company --manager-email me@my-company.example",
    ]
