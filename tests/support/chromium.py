"""A real Chromium without a window, spoken to by its remote-debugging protocol."""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from tests.support.waiting import wait_until

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # it needs one as root, and reads nothing but our own page
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-port=0",
    "--window-size=420,760",
)


class BrowserPage:
    """``requests``, ``errors`` (of scripts and of the console): all that it has made since it was opened."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._ids = count(1)
        self.requests: list[dict[str, Any]] = []
        self.errors: list[str] = []
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        number = next(self._ids)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(timeout=20))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._note(message["method"], message["params"])

    def _note(self, method: str, parameters: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(parameters["exceptionDetails"]["text"])
        elif method == "Log.entryAdded" and parameters["entry"]["source"] == "security":
            self.errors.append(parameters["entry"]["text"])

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        wait_until(lambda: self.value("document.readyState") == "complete", what=f"{url} to load")

    def value(self, script: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        return answer["result"].get("value")

    def type(self, selector: str, text: str) -> None:
        """As a person does, into what is focused by a click."""
        self.value(f"document.querySelector({selector!r}).focus()")
        self.value("document.activeElement.select()")
        self.call("Input.insertText", text=text)

    def press_enter(self) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key="Enter",
                code="Enter",
                text="\r",
                windowsVirtualKeyCode=13,
            )

    def shown(self) -> str:
        """The text that a person sees."""
        return str(self.value("document.body.innerText"))

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.shown(), what=f"the page to say: {text}")

    def accessible(self) -> list[tuple[str, str]]:
        """Role and name of everything a screen reader tells."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node["name"]["value"])
            for node in nodes
            if not node["ignored"] and node.get("name", {}).get("value")
        ]

    def save_picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


@contextmanager
def chromium(folder: Path) -> Iterator[BrowserPage]:
    """One page of a browser with a profile of its own below ``folder``."""
    assert PROGRAM is not None
    process = subprocess.Popen(
        [PROGRAM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port_file = folder / "profile" / "DevToolsActivePort"
        wait_until(
            lambda: port_file.exists() and port_file.read_text().count("\n") >= 1, 30, "the browser to start"
        )
        with connect(_page_url(int(port_file.read_text().split()[0])), max_size=None) as connection:
            yield BrowserPage(connection)
    finally:
        process.terminate()
        process.wait(20)


def _page_url(port: int) -> str:
    pages = httpx.get(f"http://127.0.0.1:{port}/json/list", trust_env=False).json()
    return str(next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page"))
