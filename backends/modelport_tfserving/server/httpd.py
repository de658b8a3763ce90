"""A small HTTP/1.1 listener on the standard library: a thread a connection, kept alive, bounded in every direction."""

from __future__ import annotations

import gzip
import logging
import re
import socket
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from io import BufferedReader

_log = logging.getLogger(__name__)
_MAX_LINE = 65536
_MAX_HEADERS = 100
_MAX_CONNECTIONS = 512
_IDLE_TIMEOUT_S = 120.0
_DRAIN_TIMEOUT_S = 2.0
_LEAST_COMPRESSED = 1024
_LONGEST_NUMBER = 19
_TLS_HANDSHAKE = b"\x16"
MAX_BODY_BYTES = 512 << 20


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request: path and query, still percent-encoded, the headers by lower-case name, the body, unpacked."""

    method: str
    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Response:
    """What to answer: a status, a body and headers of its own."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Head:
    """What comes before the body; `says_so` where the client must be told that the connection stays open."""

    method: str
    path: str
    headers: Mapping[str, str]
    keep_alive: bool
    says_so: bool


class _BadRequestError(Exception):
    """A request that cannot be read; the connection is closed after the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class HTTPListener:
    """Answers requests on a bound socket with a handler, `concurrency` of them at a time."""

    def __init__(
        self,
        listener: socket.socket,
        handler: Callable[[Request], Response],
        *,
        concurrency: int,
        max_body: int = MAX_BODY_BYTES,
        max_connections: int = _MAX_CONNECTIONS,
    ) -> None:
        self._listener = listener
        self._handler = handler
        self._slots = threading.Semaphore(concurrency)
        self._max_body = max_body
        self._max_connections = max_connections
        self._idle: dict[socket.socket, bool] = {}
        self._changed = threading.Condition()
        self._stopping = False

    def start(self) -> None:
        """Accept connections in a thread of its own."""
        self._listener.listen(128)
        threading.Thread(target=self._accept, name="http-accept", daemon=True).start()

    def stop(self, grace: float) -> None:
        """Accept no more, close idle connections, and let requests that have come end within `grace` seconds."""
        with self._changed:
            self._stopping = True
            for connection, idle in self._idle.items():
                if idle:
                    _shut(connection, socket.SHUT_RD)
        _shut(self._listener, socket.SHUT_RDWR)
        self._listener.close()
        with self._changed:
            self._changed.wait_for(lambda: not self._idle, grace)

    def _accept(self) -> None:
        while not self._stopping:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if not self._stopping:
                    _log.error("accepting an HTTP connection failed: %s", error)
                    time.sleep(0.05)
                continue
            with self._changed:
                crowded = len(self._idle) >= self._max_connections and not self._drop_idle()
                if not crowded:
                    self._idle[connection] = True
                if self._stopping:
                    _shut(connection, socket.SHUT_RD)
            if crowded:
                connection.close()
            else:
                threading.Thread(target=self._serve, args=(connection,), name="http", daemon=True).start()

    def _drop_idle(self) -> bool:
        """Close the connection that has waited longest for a request; returns whether there was one."""
        for connection, idle in self._idle.items():
            if idle:
                self._idle[connection] = False
                _shut(connection, socket.SHUT_RD)
                return True
        return False

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(_IDLE_TIMEOUT_S)
            with connection.makefile("rb") as reader:
                while self._serve_one(connection, reader):
                    pass
        except OSError:
            pass  # The client went away or stayed silent too long; there is nobody left to answer.
        finally:
            connection.close()
            with self._changed:
                self._idle.pop(connection, None)
                self._changed.notify_all()

    def _serve_one(self, connection: socket.socket, reader: BufferedReader) -> bool:
        """Answer one request; returns whether the connection stays open."""
        try:
            head = _read_head(reader)
            if head is None:
                return False
            self._mark(connection, idle=False)
            body = _read_body(connection, reader, head, self._max_body)
        except _BadRequestError as error:
            _refuse(connection, error.status, str(error))
            return False
        with self._slots:
            response = self._handler(Request(method=head.method, path=head.path, body=body, headers=head.headers))
        keep = head.keep_alive and not self._stopping
        connection.sendall(_render_response(head, response, keep=keep))
        return keep and self._mark(connection, idle=True)

    def _mark(self, connection: socket.socket, *, idle: bool) -> bool:
        """Note whether a connection waits for a request; returns False where it would wait in vain."""
        with self._changed:
            if self._stopping and idle:
                return False
            del self._idle[connection]
            self._idle[connection] = idle  # Behind all others: `_drop_idle` takes the first.
            return True


def _read_head(reader: BufferedReader) -> _Head | None:
    """Read the request line and headers; None when the client has closed the connection."""
    if reader.peek(1)[:1] == _TLS_HANDSHAKE:
        raise _BadRequestError(400, "this port speaks HTTP, not HTTPS")
    line = _read_line(reader)
    while line in {b"\r\n", b"\n"}:
        line = _read_line(reader)
    if not line:
        return None
    words = line.decode("latin-1").split()
    if len(words) != 3 or words[2] not in {"HTTP/1.1", "HTTP/1.0"}:
        raise _BadRequestError(400, "the request line is not METHOD PATH HTTP/1.1")
    headers: dict[str, str] = {}
    for _ in range(_MAX_HEADERS + 1):
        line = _read_line(reader)
        if line in {b"\r\n", b"\n", b""}:
            break
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise _BadRequestError(400, "a header line has no colon")
        if name != name.strip():
            raise _BadRequestError(400, "a header's name has blanks around it")
        # A header that comes twice is a list, so that two lengths are none.
        before = headers.get(name.lower())
        headers[name.lower()] = value.strip() if before is None else f"{before}, {value.strip()}"
    else:
        raise _BadRequestError(431, "too many header lines")
    wish = headers.get("connection", "").lower()
    keep_alive = "close" not in wish if words[2] == "HTTP/1.1" else "keep-alive" in wish
    path = re.sub(r"^[a-z]+://[^/?#]*", "", words[1], flags=re.IGNORECASE)
    return _Head(
        method=words[0],
        path=path or "/",
        headers=headers,
        keep_alive=keep_alive,
        says_so=keep_alive and words[2] == "HTTP/1.0",
    )


def _read_line(reader: BufferedReader) -> bytes:
    line = reader.readline(_MAX_LINE + 1)
    if len(line) > _MAX_LINE:
        raise _BadRequestError(431, "a header line is too long")
    return line


def _read_body(connection: socket.socket, reader: BufferedReader, head: _Head, limit: int) -> bytes:
    coding = head.headers.get("transfer-encoding", "").lower()
    length = head.headers.get("content-length", "0")
    if coding not in {"", "chunked"}:
        raise _BadRequestError(501, f"the transfer encoding {coding} is not supported")
    if not (length.isascii() and length.isdigit()) or (coding and "content-length" in head.headers):
        raise _BadRequestError(400, "the request has no clear length")
    if len(length) > _LONGEST_NUMBER or int(length) > limit:
        raise _too_large(limit)
    if head.headers.get("expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = _read_chunks(reader, limit) if coding else _read_exactly(reader, int(length))
    match head.headers.get("content-encoding", "identity").lower():
        case "identity":
            return body
        case "gzip" | "x-gzip":
            return _unzip(body, limit)
        case encoding:
            raise _BadRequestError(415, f"the content encoding {encoding} is not supported; send gzip or none")


def _read_exactly(reader: BufferedReader, size: int) -> bytes:
    body = reader.read(size)
    if len(body) < size:
        raise _BadRequestError(400, "the connection closed before the body was complete")
    return body


def _read_chunks(reader: BufferedReader, limit: int) -> bytes:
    chunks: list[bytes] = []
    total = 0
    while True:
        text = _read_line(reader).split(b";")[0].strip()
        if not re.fullmatch(b"[0-9a-fA-F]+", text):
            raise _BadRequestError(400, "a chunk has no size")
        size = int(text, 16)
        total += size
        if total > limit:
            raise _too_large(limit)
        if size == 0:
            while _read_line(reader) not in {b"\r\n", b"\n", b""}:
                pass
            return b"".join(chunks)
        chunks.append(_read_exactly(reader, size))
        if _read_line(reader) not in {b"\r\n", b"\n"}:
            raise _BadRequestError(400, "a chunk is longer than it says")


def _unzip(body: bytes, limit: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise _BadRequestError(400, f"the body is not gzip: {error}") from None
    if len(unpacked) > limit:
        raise _too_large(limit)
    if not unpacker.eof:
        raise _BadRequestError(400, "the gzip body is cut short")
    return unpacked


def _too_large(limit: int) -> _BadRequestError:
    return _BadRequestError(413, f"the request body is larger than {limit} bytes")


def _render_response(head: _Head | None, response: Response, *, keep: bool) -> bytes:
    body = response.body
    headers = dict(response.headers)
    accepted = head.headers.get("accept-encoding", "") if head else ""
    if len(body) >= _LEAST_COMPRESSED and _accepts_gzip(accepted):
        body = gzip.compress(body, compresslevel=1, mtime=0)
        headers["Content-Encoding"] = "gzip"
    headers["Date"] = _render_date(int(time.time()))
    headers["Content-Length"] = str(len(body))
    if not keep:
        headers["Connection"] = "close"
    elif head and head.says_so:
        headers["Connection"] = "keep-alive"
    try:
        reason = HTTPStatus(response.status).phrase
    except ValueError:
        reason = "Client Closed Request"
    lines = [f"HTTP/1.1 {response.status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
    text = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
    return text if head and head.method == "HEAD" else text + body


@lru_cache(maxsize=1)
def _render_date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def _accepts_gzip(accepted: str) -> bool:
    for entry in accepted.lower().split(","):
        name, _, weight = entry.partition(";")
        if name.strip() in {"gzip", "*"}:
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def _refuse(connection: socket.socket, status: int, message: str) -> None:
    """Answer with an error, and read on a while: a client that is still sending would miss the answer otherwise."""
    body = b'{"error": "%s"}' % message.encode("ascii", "replace").replace(b'"', b"'")
    response = Response(status, body, {"Content-Type": "application/json"})
    connection.sendall(_render_response(None, response, keep=False))
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(_DRAIN_TIMEOUT_S)
    until = time.monotonic() + _DRAIN_TIMEOUT_S
    while time.monotonic() < until and connection.recv(_MAX_LINE):
        pass


def _shut(connection: socket.socket, how: int) -> None:
    """Shut a socket down; with SHUT_RD, what has come can still be read and answered."""
    try:
        connection.shutdown(how)
    except OSError:
        return  # Already closed by the other side.
