"""A server that was started, wherever it runs: wait until it answers, notice when it ends, quote what it said."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from modelport.errors import ServerFailed
from modelport.plan import ServicePlan
from modelport.run.tool import last_lines


class StartedServer(ABC):
    """What a server in a process of its own and one in a container have in common.

    Attributes:
        plan: What runs.
        title: What it is called in messages.
        poll_s: Time between two looks, in seconds.
    """

    def __init__(self, plan: ServicePlan, title: str, poll_s: float) -> None:
        self.plan = plan
        self.title = title
        self.poll_s = poll_s

    @abstractmethod
    def ended(self) -> str:
        """Say how it has ended, as it stands behind its name; empty while it runs."""

    @abstractmethod
    def printed(self) -> str:
        """Give the newest lines that it printed."""

    def wait_ready(self, answers: Callable[[], bool]) -> None:
        """Wait until ``answers`` says yes.

        Raises:
            ServerFailed: The server ended, or did not get there in time; the message has its last lines.
        """
        deadline = time.monotonic() + self.plan.start_timeout_s
        while True:
            self.check_alive()
            if answers():
                return
            if time.monotonic() > deadline:
                raise self._failed(f"not ready after {self.plan.start_timeout_s:.0f} s")
            time.sleep(self.poll_s)

    def check_alive(self) -> None:
        """Raise if the server has ended, or has said that it will never be ready.

        Raises:
            ServerFailed: With how it ended and its last lines.
        """
        if how := self.ended():
            raise self._failed(how)
        for line in self.printed().splitlines() if self.plan.fatal else ():
            if any(text in line for text in self.plan.fatal):
                raise ServerFailed(f"{self.title}: cannot serve the model:\n    {line}")

    def _failed(self, what: str) -> ServerFailed:
        return ServerFailed(f"{self.title}: {what}. Its last lines:\n{last_lines(self.printed())}")
