"""One job, run because somebody asked: `milepost jobs run`. The leader may be running it too."""

import threading

from core.database import make_engine, make_sessions
from core.errors import InvalidValue
from core.settings import Settings
from jobs.run import Outcome, Run, run_job
from jobs.schedule import JOBS, find


def run(settings: Settings, name: str) -> Outcome:
    """Raises `InvalidValue` for a name that is not in the table."""
    job = find(name)
    if job is None:
        raise InvalidValue("name", f"is no job; there are: {', '.join(job.name for job in JOBS)}")
    engine = make_engine(settings, process="command")
    try:
        return run_job(job, Run(job.name, make_sessions(engine), threading.Event()))
    finally:
        engine.dispose()
