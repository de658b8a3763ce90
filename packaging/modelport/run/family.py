"""All processes of one service, however they were started."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

MARK = "MODELPORT_SERVICE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The processes that a service consists of.

    A child may leave the session, and its parent may end before it does; what it cannot lose is the variable that it
    was born with. So a process belongs to the family if it is in the session, or carries the mark.

    Attributes:
        session: Id of the session that the first process leads.
        mark: Value of the variable `MARK` in its environment, unlike any other service's.
    """

    session: int
    mark: str

    def processes(self, *, only_session: bool = False) -> list[int]:
        """Give the ids of all that run, zombies apart."""
        needle = f"{MARK}={self.mark}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                # The name in parentheses may hold anything; behind it stand state, parent, group and session.
                fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                belongs = int(fields[3]) == self.session or (
                    not only_session and needle in (entry / "environ").read_bytes().split(b"\0")
                )
            except OSError:  # ended meanwhile, or somebody else's
                continue
            if belongs and fields[0] != "Z":
                found.append(int(entry.name))
        return found

    def send(self, number: signal.Signals, *, only_session: bool = False) -> None:
        """Send a signal to all, or to those in the session: the others are their parents' to end."""
        for pid in self.processes(only_session=only_session):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


def strays(leader: int) -> list[int]:
    """Give the processes below a session's leader that lead, or stand in, other sessions."""
    parents: dict[int, int] = {}
    sessions: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # ended meanwhile
            continue
        parents[int(entry.name)], sessions[int(entry.name)] = int(fields[1]), int(fields[3])
    below = {leader}
    while new := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= new
    return sorted(pid for pid in below if sessions.get(pid, leader) != leader)
