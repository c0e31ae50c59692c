"""A typed client, generated from the OpenAPI document, type-checked, and used against a running server."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.settings import Settings
from tests.support import api_client, factories
from tests.support.api_client import House
from tests.support.servers.live_server import LiveServer

STORY = Path(__file__).parents[3] / "support" / "openapi" / "client_story.py"


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Any]:
    """`client_story` with the client that it needs, generated without a network and checked by mypy."""
    document, config, client = (tmp_path / name for name in ("api.json", "config.json", "milepost_client"))
    document.write_text(json.dumps(api_client.document()))
    pictures = dict.fromkeys(("image/jpeg", "image/png"), "application/octet-stream")
    config.write_text(json.dumps({"post_hooks": [], "content_type_overrides": pictures}))
    (tmp_path / STORY.name).write_text(STORY.read_text())
    generate = ("generate", "--path", document, "--config", config, "--meta", "none", "--output-path", client)
    generated = run(tmp_path, "openapi_python_client", *generate, "--fail-on-warning")
    assert generated.returncode == 0, generated.stdout
    checked = run(tmp_path, "mypy", "--strict", "--config-file=", "--cache-dir=cache", STORY.name)
    assert checked.returncode == 0, checked.stdout
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        yield importlib.import_module(STORY.stem)
        for name in [name for name in sys.modules if name.startswith(("milepost_client", STORY.stem))]:
            del sys.modules[name]


def run(folder: Path, module: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        text=True,
        timeout=120,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_generated_client_carries_a_delivery_through_its_life(
    story: Any, house: House, settings: Settings
) -> None:
    server = LiveServer(settings)
    server.start()
    try:
        with story.logged_in(
            f"http://127.0.0.1:{server.port}", house.manager.email, factories.PASSWORD
        ) as client:
            kinds = story.deliver(
                client, house.customer.customer_id, house.driver.driver_id, house.vehicle.id
            )
    finally:
        server.stop()
    assert kinds == ["status", "status", "location"]
