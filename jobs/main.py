"""The jobs process: one instance leads and runs the relay, sender and schedule; the others stand by."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType

from sqlalchemy.orm import Session, sessionmaker

from broker.relay import Relay
from core import logs
from core.database.engine import make_engine, make_sessions
from core.health.beating import beating
from core.settings import Settings
from jobs import leadership, metrics
from jobs.leadership import Term
from jobs.schedule import table
from jobs.sender import loop

log = logging.getLogger(__name__)

WAIT_FOR_JOBS = 0.5  # share of the shutdown timeout: the relay needs some before, and the exit some after
CONNECTIONS = 5 + len(table.JOBS)  # opened as needed; no job waits for another's connection


def run(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; return the exit code. The next leader redoes unfinished work."""
    logs.configure("jobs", settings.log_level, settings.log_format)
    engine = make_engine(settings, process="jobs", overflow=CONNECTIONS)
    sessions = make_sessions(engine)
    with metrics.served(settings, sessions):
        exit_code = _run_until_signalled(settings, sessions)
    engine.dispose()
    log.info("jobs_stopped exit_code=%d", exit_code)
    if threading.active_count() > 1:
        # A job that was cut off may hang in a driver, and the interpreter would wait for it on exit.
        logging.shutdown()
        os._exit(exit_code)
    return exit_code


def _run_until_signalled(settings: Settings, sessions: sessionmaker[Session]) -> int:
    stop = threading.Event()
    with _signals() as received:
        log.info("jobs_started pid=%d", os.getpid())
        worker = threading.Thread(target=_work, args=(settings, sessions, stop, received), name="leader")
        worker.start()
        number = received.get()
        log.info("jobs_stopping reason=%s", signal.Signals(number).name if number else "worker ended")
        stop.set()
        worker.join(settings.shutdown_timeout_s)
    if worker.is_alive():
        log.error("jobs_stop_timed_out")
        # The worker waits for an unresponsive database and would keep the interpreter alive; nothing is lost.
        os._exit(1)
    return 0 if number else 1


def _work(
    settings: Settings,
    sessions: sessionmaker[Session],
    stop: threading.Event,
    received: "SimpleQueue[int]",
) -> None:
    try:
        leadership.lead(settings, lambda term: _serve(term, sessions, settings, stop), stop)
    except Exception:
        log.exception("jobs_failed")
    finally:
        received.put(0)


def _serve(
    term: Term,
    sessions: sessionmaker[Session],
    settings: Settings,
    stop: threading.Event,
) -> None:
    """Run the leader's tasks for one term."""
    with (
        table.running(sessions, is_over=term.is_set) as jobs,
        loop.running(sessions, settings, is_over=term.is_set),
    ):
        relay = Relay(term.connection, sessions, settings, term)
        with beating(settings, relay.beats):
            relay.run()
    if stop.is_set() and (left := jobs.wait(settings.shutdown_timeout_s * WAIT_FOR_JOBS)):
        # Their transactions are rolled back, and the next leader runs them when it starts.
        log.warning("jobs_cut_off jobs=%s", ",".join(left))


@contextmanager
def _signals() -> Iterator["SimpleQueue[int]"]:
    """Yield a queue of received SIGTERM and SIGINT numbers."""
    # A `SimpleQueue` is reentrant: the one thing that a signal handler may safely touch.
    received: SimpleQueue[int] = SimpleQueue()

    def receive(number: int, _frame: FrameType | None) -> None:
        received.put(number)

    previous = {number: signal.signal(number, receive) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
