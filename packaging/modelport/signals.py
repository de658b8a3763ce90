"""Signals held back where one in the wrong moment would leave something behind."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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


def ignore(numbers: Iterable[signal.Signals]) -> None:
    """Let these signals do nothing for the rest of the process."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
