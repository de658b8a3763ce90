"""What a client and a server say to one another, as data: nothing here opens a connection.

A backend's client is written once, as generators that yield a `Call` (or a `Pause`) and are sent what came of it.
`modelport.client.session` runs them, in a thread or in an event loop.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from modelport.client.base import ClientError, NotReady, ServerError, Timeout

T = TypeVar("T")

FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 5.0
UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"  # OpenSSL's word, in Python and in gRPC


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request.

    Attributes:
        target: An HTTP path with its query, ``/v1/models/digits``, or a gRPC method, ``/package.Service/Method``.
        method: The HTTP method; not used by gRPC.
        headers: HTTP headers, or gRPC metadata.
        body: HTTP body, or gRPC message.
    """

    target: str
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a server answered, whole.

    Attributes:
        status: HTTP status, or the name of a gRPC code: ``"OK"``, ``"NOT_FOUND"``, …
        headers: HTTP headers, names in lower case.
        body: HTTP body, or gRPC message.
        detail: The gRPC code's details.
    """

    status: int | str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Whether it is an answer, and no error."""
        return self.status in {200, "OK"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """There is no whole answer.

    Attributes:
        why: ``refused``: no connection, so nothing was sent; ``closed``: the connection ended before the first
            byte of an answer; ``cut``: it ended within the answer, or that was no HTTP; ``late``: the time was up.
        detail: The operating system's words, or the library's.
    """

    why: Literal["refused", "closed", "cut", "late"]
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Wait before the next call; where the time does not suffice, raise ``otherwise`` at once."""

    seconds: float
    otherwise: ClientError


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A call that failed: what to raise, and whether to try again first.

    Attributes:
        error: Raised when no try is left.
        retry: Whether the same call may be sent again: the server did not begin to compute, or has said so.
        after_s: How many seconds the server wants to be left alone.
    """

    error: ClientError
    retry: bool = False
    after_s: float = 0.0


Steps = Generator[Call | Pause, Reply | Lost, T]
"""A conversation that ends with a ``T``. What is sent in after a `Pause` is ignored."""


def ask(
    call: Call,
    judge: Callable[[Reply], Failure | None],
    *,
    retries: int = 0,
    uniform: Callable[[float, float], float] = random.uniform,
) -> Steps[Reply]:
    """Send a call until it is answered, at most ``1 + retries`` times, and give the answer.

    Between the tries stands an exponential backoff with full jitter, or what the server asks for if that is longer.

    Raises:
        ClientError: The last failure's.
    """
    for attempt in range(retries + 1):
        outcome = yield call
        failure = judge_loss(outcome) if isinstance(outcome, Lost) else judge(outcome)
        if failure is None:
            assert isinstance(outcome, Reply)  # noqa: S101  # a loss is always a failure; for the type checker
            return outcome
        if not failure.retry or attempt == retries:
            raise failure.error
        backoff = uniform(0, min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2**attempt))
        yield Pause(seconds=max(backoff, failure.after_s), otherwise=failure.error)
    raise AssertionError("the last try returns or raises")


def judge_loss(lost: Lost) -> Failure:
    """Say what a missing answer means.

    A prediction changes nothing on a server, so one whose connection closed before an answer began is sent again.
    One that took too long is not: the server may still be at it.
    """
    match lost.why:
        case "refused" if UNTRUSTED in lost.detail:
            text = f"the server's certificate is not trusted: {lost.detail}; verify_tls=… names a file of certificates"
            return Failure(error=ClientError(f"{text} to check it with"))
        case "refused":
            return Failure(error=NotReady(f"no connection to the server: {lost.detail}"), retry=True)
        case "closed":
            text = f"the server closed the connection without an answer: {lost.detail}"
            return Failure(error=ServerError(text), retry=True)
        case "cut":
            return Failure(error=ServerError(f"the server's answer is broken: {lost.detail}"))
        case "late":
            return Failure(error=Timeout(f"the server did not answer in time: {lost.detail}"))
