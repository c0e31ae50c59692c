"""Run the API process: uvicorn with our application, in one worker process or several."""

import logging
import os
import signal
import tempfile
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from api.app import create_app
from api.http.protocol import HttpProtocol
from api.live import WebSocketProtocol
from api.metrics import MULTIPROCESS_FOLDER
from core import logs
from core.settings import Settings, load

MAXIMUM_SOCKET_MESSAGE = 64 * 1024
LAST_STEPS_S = 2  # of the shutdown time-out, kept for closing the broker connection and the database pool
WORKER_SILENT_S = 30  # uvicorn's 5 s kill workers that are still loading on a busy machine, again and again
log = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT, then stop within the shutdown time-out. Return the exit code."""
    logs.configure("api", settings.log_level, settings.log_format)
    # uvicorn raises the signal again after its shutdown; without these handlers that would kill the process.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    log.info(
        "starting at=http://%s:%s processes=%s",
        settings.http_host,
        settings.http_port,
        settings.api_processes,
    )
    is_clean = _run_several(settings) if settings.api_processes > 1 else _run_one(settings)
    log.info("stopped")
    return 0 if is_clean else 1


def application() -> FastAPI:
    """Build the application of one worker process, with settings from its environment."""
    settings = load()
    logs.configure("api", settings.log_level, settings.log_format)
    return create_app(settings)


def _run_one(settings: Settings) -> bool:
    server = uvicorn.Server(_config(settings, create_app(settings)))
    server.run()
    return server.started


def _run_several(settings: Settings) -> bool:
    with tempfile.TemporaryDirectory(prefix="milepost-metrics-") as folder:
        os.environ[MULTIPROCESS_FOLDER] = folder
        config = _config(
            settings,
            "api.main:application",
            factory=True,
            workers=settings.api_processes,
            timeout_worker_healthcheck=WORKER_SILENT_S,
        )
        Multiprocess(config, sockets=[config.bind_socket()]).run()
    return True


def _config(settings: Settings, app: FastAPI | str, **options: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.http_host,
        port=settings.http_port,
        loop="uvloop",
        http=HttpProtocol,
        ws=WebSocketProtocol,
        lifespan="on",
        ws_max_size=MAXIMUM_SOCKET_MESSAGE,
        # `/metrics` trusts loopback clients, so the address must be the TCP peer's, not one from a header.
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=max(1, int(settings.shutdown_timeout_s) - LAST_STEPS_S),
        **options,
    )
