"""Signals held back where one in the wrong moment would leave something behind, and sent anew where one was lost."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ANEW_S = 0.05


@contextmanager
def postponed() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP take effect at the end of the block, not within it.

    For blocks that are bounded in time: where a folder or a process is made that nobody knows of yet, and where one
    is removed. What was made has to be removed by a ``finally`` around the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if came:
            signal.raise_signal(came[0])


def send_lost_anew() -> None:
    """Send a Ctrl-C or SIGTERM once more when what it raised was swallowed, for the rest of the process.

    Python runs a handler between any two steps of the main thread, also within destructors and callbacks of weak
    references, of which every import makes some. What is raised there is told on stderr and forgotten.
    """
    tell = sys.unraisablehook
    main = threading.main_thread().ident

    def recover(lost: sys.UnraisableHookArgs) -> None:
        if main is None or not issubclass(lost.exc_type, KeyboardInterrupt):
            tell(lost)
            return
        told = lost.exc_value.args if lost.exc_value is not None else ()
        # Not at once: the handler would run, and raise, before the callback has ended.
        timer = threading.Timer(ANEW_S, signal.pthread_kill, (main, *(told or (signal.SIGINT,))))
        timer.daemon = True
        timer.start()

    sys.unraisablehook = recover


def ignore(numbers: Iterable[signal.Signals]) -> None:
    """Let these signals do nothing for the rest of the process."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
