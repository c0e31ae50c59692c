"""One job, run on demand: `milepost jobs run`. The leader may be running it at the same time."""

import threading

from core.database.engine import make_engine, make_sessions
from core.errors import InvalidValue
from core.settings import Settings
from jobs.schedule.run import JobRun, RunOutcome, run_job
from jobs.schedule.table import JOBS, find


def run(settings: Settings, name: str) -> RunOutcome:
    """Run the job once. Raises `InvalidValue` for a name that is not in the table."""
    job = find(name)
    if job is None:
        raise InvalidValue("name", f"is no job; there are: {', '.join(job.name for job in JOBS)}")
    engine = make_engine(settings, process="command")
    try:
        return run_job(job, JobRun(job.name, make_sessions(engine), threading.Event()))
    finally:
        engine.dispose()
