"""Put a release where it shall run, wait until it answers, and take it back when it does not.

Every target does it in the same steps; `Rollout` is what one has to bring along.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from modelport.errors import ModelportError, ServerFailed
from modelport.run.difference import Change

Note = Callable[[str], None]


@dataclass(slots=True)
class Journal:
    """What a roll-out has done so far, in sentences, in order.

    Attributes:
        applied: What was changed: ``Deployment digits: created``.
        undone: What was put back: ``Deployment digits: removed``.
        stuck: What could not be put back, and why.
    """

    applied: list[str] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)


class Rollout(Protocol):
    """One release on its way to one place.

    Attributes:
        journal: Written as things happen, so that it tells the truth after an interruption too.
    """

    journal: Journal

    @property
    def place(self) -> str:
        """Where it goes, for people."""
        ...

    def changes(self) -> tuple[Change, ...]:
        """Compare what runs with what is wanted; touch nothing."""
        ...

    def turn(self) -> AbstractContextManager[None]:
        """Keep other deployments of the same service away for the length of a block, where that can be done.

        Raises:
            ServerFailed: One is under way.
        """
        ...

    def apply(self, note: Note) -> None:
        """Change what has to be changed; what cannot be is found out before the first change, where possible.

        Raises:
            ServerFailed: It was refused.
        """
        ...

    def wait_ready(self, timeout_s: float, note: Note) -> None:
        """Wait until the new one is ready.

        Raises:
            ServerFailed: It will not be, or is not in time; with the events and logs that tell why.
        """
        ...

    def endpoints(self) -> Mapping[str, str]:
        """URLs for clients on this machine, by protocol; empty where nothing can be reached from here."""
        ...

    def roll_back(self, note: Note) -> None:
        """Bring back what ran before; remove what is new. Goes on after a failure, which is put on record."""
        ...

    def finish(self) -> None:
        """Remove what was kept for going back."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A deployment that went well.

    Attributes:
        place: Where it runs.
        applied: What was changed.
        endpoints: URLs by protocol, where it can be reached from here.
        answered: How its readiness was established; empty where nobody waited.
    """

    place: str
    applied: tuple[str, ...]
    endpoints: Mapping[str, str]
    answered: str


class Interrupted(ModelportError):
    """A signal ended a deployment; the message says how far it got. Its cause is the `KeyboardInterrupt`."""

    exit_code = 130


def run_rollout(
    rollout: Rollout, *, wait: bool, timeout_s: float, ask: Callable[[Mapping[str, str]], str], note: Note
) -> Outcome:
    """Deploy; roll back when it fails, is late or is interrupted.

    Args:
        rollout: What to deploy.
        wait: Wait for readiness. Without it nothing is rolled back once everything is applied.
        timeout_s: How long readiness may take, in seconds.
        ask: Sends a real request to the endpoints and says what came; raises `ModelportError` where no answer did.
        note: Told what happens.

    Raises:
        ModelportError: It failed; the message has the reason, and what was rolled back.
        Interrupted: A signal came.
    """
    with rollout.turn():
        return _run(rollout, wait=wait, timeout_s=timeout_s, ask=ask, note=note)


def _run(
    rollout: Rollout, *, wait: bool, timeout_s: float, ask: Callable[[Mapping[str, str]], str], note: Note
) -> Outcome:
    answered = ""
    try:
        rollout.apply(note)
        if wait:
            rollout.wait_ready(timeout_s, note)
            answered = ask(rollout.endpoints())
    except ModelportError as error:
        if not rollout.journal.applied:
            raise type(error)(f"{error}\nNothing was changed in {rollout.place}") from error
        raise ServerFailed(_take_back(rollout, note, str(error))) from error
    except KeyboardInterrupt as error:
        if not rollout.journal.applied:
            raise Interrupted(f"interrupted; nothing was changed in {rollout.place}") from error
        raise Interrupted(_take_back(rollout, note, "interrupted")) from error
    if wait:
        _finish(rollout, note)
    return Outcome(
        place=rollout.place,
        applied=tuple(rollout.journal.applied),
        endpoints=rollout.endpoints(),
        answered=answered,
    )


def _take_back(rollout: Rollout, note: Note, reason: str) -> str:
    try:
        note("rolling back …; Ctrl-C leaves everything as it is")
        rollout.roll_back(note)
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"{reason}\nThe roll-back was interrupted, and is not complete. {describe_journal(rollout)}\n"
            "To go on, run the same command again; to go back, deploy the version that ran before"
        ) from error
    return f"{reason}\n{describe_journal(rollout)}"


def _finish(rollout: Rollout, note: Note) -> None:
    """Tidy up; the new version answers, whatever comes of this."""
    try:
        rollout.finish()
    except ModelportError as error:
        note(f"what is left of the version before could not be removed; the next deployment tries again: {error}")
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"interrupted when all was done: the new version answers in {rollout.place}. What is left of the version "
            "before is removed by the next deployment"
        ) from error


def describe_journal(rollout: Rollout) -> str:
    """Say what was applied, what was put back and what was not."""
    journal = rollout.journal
    parts = [f"Applied in {rollout.place} so far:", *_indented(journal.applied)]
    parts += ["Rolled back:", *_indented(journal.undone)] if journal.undone else ["Nothing was rolled back"]
    if journal.stuck:
        parts += ["NOT rolled back:", *_indented(journal.stuck)]
    return "\n".join(parts)


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]
