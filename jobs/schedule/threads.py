"""APScheduler's executor, a thread a run: a job that hangs takes none away from the others.

The threads are daemons, so one that hangs does not hold the process either, which waits for them as long as
it may (`wait`) and then goes: what is cut off in a transaction never happened.
"""

import sys
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from apscheduler.executors.base import BaseExecutor, run_job


class ThreadARun(BaseExecutor):  # type: ignore[misc]  # APScheduler has no types
    def __init__(self) -> None:
        super().__init__()
        self._threads: set[threading.Thread] = set()

    def wait(self, timeout_s: float) -> list[str]:
        """Until all runs have ended, or the time is over; gives the names of those that have not."""
        deadline = time.monotonic() + timeout_s
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        return sorted(thread.name for thread in list(self._threads) if thread.is_alive())

    def _do_submit_job(self, job: Any, run_times: Sequence[datetime]) -> None:
        thread = threading.Thread(target=self._run, args=(job, run_times), name=job.id, daemon=True)
        self._threads.add(thread)
        thread.start()

    def _run(self, job: Any, run_times: Sequence[datetime]) -> None:
        try:
            events = run_job(job, job._jobstore_alias, run_times, self._logger.name)
        except BaseException:
            self._run_job_error(job.id, *sys.exc_info()[1:])
        else:
            self._run_job_success(job.id, events)
        finally:
            self._threads.discard(threading.current_thread())
