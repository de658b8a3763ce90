"""What an error of a server means: HTTP statuses and gRPC codes to the errors of `modelport.client.base`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from modelport.client.arrays import excerpt
from modelport.client.base import (
    ClientError,
    InvalidInput,
    ModelNotFound,
    NotReady,
    Overloaded,
    ServerError,
    Timeout,
)
from modelport.client.exchange import Failure, Reply

BY_STATUS: Mapping[int, type[ClientError]] = {
    400: InvalidInput,
    401: ClientError,
    403: ClientError,
    404: ModelNotFound,
    408: Timeout,
    413: InvalidInput,
    415: InvalidInput,
    422: InvalidInput,
    429: Overloaded,
    503: Overloaded,
    504: Timeout,
    507: Overloaded,
}
BY_CODE: Mapping[str, type[ClientError]] = {
    "INVALID_ARGUMENT": InvalidInput,
    "FAILED_PRECONDITION": InvalidInput,
    "OUT_OF_RANGE": InvalidInput,
    "UNAUTHENTICATED": ClientError,
    "PERMISSION_DENIED": ClientError,
    "NOT_FOUND": ModelNotFound,
    "RESOURCE_EXHAUSTED": Overloaded,
    "UNAVAILABLE": NotReady,
    "DEADLINE_EXCEEDED": Timeout,
}
LATER = {429, 503, "RESOURCE_EXHAUSTED", "UNAVAILABLE"}
LONGEST_TEXT = 500  # bytes of an error that is no JSON; what is longer is a page for browsers
BUSY = ("queue", "overload", "too many", "busy", "rate limit")


def judge(reply: Reply) -> Failure | None:
    """Say what a reply means, from its status and the sentence in it; None where it is an answer."""
    if reply.ok:
        return None
    if isinstance(reply.status, int):
        return judge_http(reply)
    return judge_grpc(reply)


def judge_http(reply: Reply) -> Failure:
    """Say what an HTTP error means."""
    assert isinstance(reply.status, int)  # noqa: S101  # for the type checker
    sentence = read_sentence(reply)
    if reply.status == 413 and not reply.body:
        sentence = "the request is larger than the server takes"
    kind = BY_STATUS.get(reply.status, ServerError)
    if kind is ClientError:
        sentence += "; pass token=… or headers=… that the server accepts"
    error = kind(f"{sentence} (HTTP {reply.status})", status=reply.status)
    return Failure(error=error, retry=reply.status in LATER, after_s=read_retry_after(reply.headers))


def judge_grpc(reply: Reply) -> Failure:
    """Say what a gRPC error means."""
    code, sentence = str(reply.status), reply.detail or "the server gives no reason"
    kind = BY_CODE.get(code, ServerError)
    words = sentence.lower()
    if code == "UNAVAILABLE" and any(sign in words for sign in BUSY):
        kind = Overloaded
    if code == "RESOURCE_EXHAUSTED" and "larger than max" in words:
        return Failure(error=InvalidInput(f"{sentence} ({code})", status=code))
    if kind is ClientError:
        sentence += "; pass token=… or headers=… that the server accepts"
    return Failure(error=kind(f"{sentence} ({code})", status=code), retry=code in LATER)


def read_json(body: bytes) -> Any:
    """Give a JSON document, or None where there is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def read_sentence(reply: Reply) -> str:
    """Give the server's own sentence: ``error``, ``message`` or ``detail`` of a JSON object, or the text itself."""
    raw = read_json(reply.body)
    if isinstance(raw, dict):
        for key in ("error", "message", "detail"):
            if isinstance(raw.get(key), str) and raw[key].strip():
                return str(raw[key]).strip()
    text = reply.body.decode("utf-8", "replace").strip() if len(reply.body) <= LONGEST_TEXT else ""
    if text.isprintable() and text and "<" not in text:
        return text
    return f"the server gives no reason; its answer: {excerpt(reply.body)}"


def read_retry_after(headers: Mapping[str, str]) -> float:
    """Give the seconds that ``Retry-After`` asks for, as a number or as a date; 0 where it says nothing readable."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0
