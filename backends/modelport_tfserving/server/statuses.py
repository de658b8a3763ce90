"""Status codes: the canonical ones of gRPC, how they look over HTTP, and the error that carries one."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """The canonical codes, by the numbers that gRPC, absl and TensorFlow share."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_HTTP_STATUS = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}


class ServingError(Exception):
    """A request or a start that cannot go on: a canonical code and a sentence for the caller."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


def http_status(code: Code) -> int:
    """Return the HTTP status that TensorFlow Serving answers for a canonical code."""
    return _HTTP_STATUS.get(code, 500)


def invalid_argument(message: str) -> ServingError:
    """Return the error of a request that is wrong in itself."""
    return ServingError(Code.INVALID_ARGUMENT, message)


def failed_precondition(message: str) -> ServingError:
    """Return the error of a request that the model's present state does not allow."""
    return ServingError(Code.FAILED_PRECONDITION, message)


def not_found(message: str) -> ServingError:
    """Return the error of a model, version or file that is not there."""
    return ServingError(Code.NOT_FOUND, message)


def from_exception(error: Exception) -> ServingError:
    """Return the serving error for anything that was raised while loading or running a model.

    TensorFlow's own errors keep their code and message; everything else is INTERNAL, with the exception's type.
    """
    if isinstance(error, ServingError):
        return error
    code = getattr(error, "error_code", None)
    message = getattr(error, "message", None)
    if isinstance(code, int) and isinstance(message, str) and 0 < code <= max(Code):
        return ServingError(Code(code), message)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return not_found(str(error))
    if isinstance(error, UnicodeEncodeError):
        return invalid_argument(f"a string is not valid UTF-8: {error.reason} at position {error.start}")
    if isinstance(error, MemoryError):
        return ServingError(Code.RESOURCE_EXHAUSTED, "out of memory while handling the request")
    return ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")
