"""The signals that what the tests start begins with, whatever the tests themselves were started with."""

import signal

# Python ignores these itself, and gives them back to whatever it starts.
PYTHONS_OWN = {signal.SIGPIPE, signal.SIGXFSZ}


def start_children_afresh() -> None:
    """Let no ignored or blocked signal reach the processes that we start.

    ``nohup`` ignores SIGHUP, a shell's ``&`` SIGINT, and both outlive exec. A handler that does nothing does
    not: we stay as deaf as we were asked to be, and our children are not.
    """
    for number in signal.valid_signals() - PYTHONS_OWN:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
