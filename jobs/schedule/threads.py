"""An APScheduler executor with a thread per run: a job that hangs takes no thread from the others.

The threads are daemons, so a hanging one does not block the process's exit: `wait` waits for them for a
bounded time. A transaction that is cut off is rolled back.
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
        """Wait for all runs to end; return the names of those still running after ``timeout_s``."""
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
