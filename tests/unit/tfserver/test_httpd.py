"""The HTTP listener, over real sockets, with an echo for a handler."""

from __future__ import annotations

import gzip
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from modelport_tfserving.server.httpd import HTTPListener, Request, Response
from modelport_tfserving.server.listeners import bind_socket
from modelport_tfserving.server.plan import ANY_HOST

_LIMIT = 100_000


class Echo:
    """Answers with method, path and body; can be held back."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.entered = threading.Event()

    def __call__(self, request: Request) -> Response:
        self.entered.set()
        assert self.go.wait(20)
        return Response(200, f"{request.method} {request.path} ".encode() + request.body, {"X-Echo": "1"})


class Listening:
    """A listener with its echo and port."""

    def __init__(self, max_connections: int = 512) -> None:
        self.echo = Echo()
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        self.port = bound.getsockname()[1]
        self.listener = HTTPListener(bound, self.echo, concurrency=4, max_body=_LIMIT, max_connections=max_connections)
        self.listener.start()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 20)

    def send(self, text: bytes) -> bytes:
        """Send bytes, then return all that comes until the server closes."""
        with self.connect() as connection:
            connection.sendall(text)
            return connection.makefile("rb").read()


@pytest.fixture
def listening() -> Iterator[Listening]:
    made = Listening()
    yield made
    made.echo.go.set()
    made.listener.stop(5)


_CLOSE = b"Connection: close\r\n"


def test_a_request_and_its_answer(listening: Listening) -> None:
    answer = listening.send(b"POST /a%20b?q=1#f HTTP/1.1\r\nContent-Length: 3\r\n" + _CLOSE + b"\r\nxyz")
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert [line for line in lines if not line.startswith(b"Date: ")] == [
        *(b"HTTP/1.1 200 OK", b"X-Echo: 1", b"Content-Length: 21", b"Connection: close")
    ]
    assert len(lines) == 5
    assert body == b"POST /a%20b?q=1#f xyz"


@pytest.mark.parametrize(
    ("request_text", "body"),
    [
        (b"GET http://host/p?q HTTP/1.1\r\n" + _CLOSE + b"\r\n", b"GET /p?q "),
        (b"OPTIONS http://host HTTP/1.1\r\n" + _CLOSE + b"\r\n", b"OPTIONS / "),
        (b"\r\nGET /p HTTP/1.0\r\n\r\n", b"GET /p "),
        (
            b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
            + _CLOSE
            + b"\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: t\r\n\r\n",
            b"POST /c abcde",
        ),
        (
            b"POST /g HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 24\r\n"
            + _CLOSE
            + b"\r\n"
            + gzip.compress(b"zipp", mtime=0),
            b"POST /g zipp",
        ),
        (b"POST /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\n" + _CLOSE + b"\r\n", b"POST /b "),
    ],
    ids=["absolute", "no path", "http 1.0", "chunked", "gzip", "pipelined"],
)
def test_forms_of_requests(listening: Listening, request_text: bytes, body: bytes) -> None:
    answer = listening.send(request_text)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n" + body)


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nContent-Length : 1\r\n\r\nx", 400),
        (b"GET / HTTP/1.1\r\nA: b\r\n c: d\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: " + b"1" * 5000 + b"\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\na\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: 100001\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx", 415),
        (b"POST / HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nxyz", 400),
    ],
)
def test_requests_that_cannot_be_read(listening: Listening, request_text: bytes, status: int) -> None:
    answer = listening.send(request_text)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b'{"error": "' in answer


def test_a_small_gzip_body_cannot_unfold_without_bound(listening: Listening) -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    assert len(bomb) < _LIMIT
    head = b"POST / HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    assert listening.send(head + bomb).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_still_sends_reads_why_it_was_refused(listening: Listening) -> None:
    client = http.client.HTTPConnection("127.0.0.1", listening.port, timeout=20)
    client.request("POST", "/", body=b"x" * 3_000_000)
    assert client.getresponse().status == 413
    client.close()


def test_continue_is_said_before_the_body_comes(listening: Listening) -> None:
    with listening.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n" + _CLOSE + b"\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"hi")
        assert connection.makefile("rb").read().endswith(b"POST / hi")


def test_head_has_no_body(listening: Listening) -> None:
    answer = listening.send(b"HEAD /p HTTP/1.1\r\n" + _CLOSE + b"\r\n")
    assert b"Content-Length: 8\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_a_client_of_http_1_0_is_told_that_its_connection_stays(listening: Listening) -> None:
    """Such a client waits for the end of the connection where it is not told."""
    asked = b"GET /p HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
    first, last = listening.send(asked + b"GET /q HTTP/1.0\r\n\r\n").split(b"GET /p ")
    assert b"Connection: keep-alive\r\n" in first
    assert b"Connection: close\r\n" in last


def test_a_new_connection_takes_the_place_of_the_one_that_is_idle_for_longest() -> None:
    listening = Listening(max_connections=2)
    listening.echo.go.clear()
    try:
        with listening.connect() as busy, listening.connect() as idle:
            busy.sendall(b"GET /busy HTTP/1.1\r\n" + _CLOSE + b"\r\n")
            assert listening.echo.entered.wait(20)
            with listening.connect() as new:
                assert idle.recv(1) == b""
                listening.echo.go.set()
                new.sendall(b"GET /new HTTP/1.1\r\n" + _CLOSE + b"\r\n")
                assert new.makefile("rb").read().endswith(b"GET /new ")
            assert busy.makefile("rb").read().endswith(b"GET /busy ")
    finally:
        listening.echo.go.set()
        listening.listener.stop(5)


def _wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_stopping_closes_idle_connections_and_lets_work_end() -> None:
    listening = Listening()
    listening.echo.go.clear()
    with listening.connect() as idle, listening.connect() as busy:
        busy.sendall(b"GET /busy HTTP/1.1\r\n\r\n")
        assert listening.echo.entered.wait(20)
        _wait_until(lambda: len(listening.listener._idle) == 2)
        stopping = threading.Thread(target=listening.listener.stop, args=(20,))
        stopping.start()
        assert idle.recv(1) == b""
        assert stopping.is_alive()
        listening.echo.go.set()
        answer = busy.makefile("rb").read()
        assert b"Connection: close\r\n" in answer
        assert answer.endswith(b"GET /busy ")
        stopping.join(20)
        assert not stopping.is_alive()
    with pytest.raises(OSError, match=r".*"):
        listening.connect()


def test_stopping_answers_what_has_come_already(listening: Listening) -> None:
    """Requests that nobody has read yet are not lost, and one that comes in part holds up nothing."""
    with ExitStack() as stack:
        whole = [stack.enter_context(listening.connect()) for _ in range(50)]
        cut = stack.enter_context(listening.connect())
        _wait_until(lambda: len(listening.listener._idle) == 51)
        cut.sendall(b"GET /cut")
        for connection in whole:
            connection.sendall(b"GET /whole HTTP/1.1\r\n\r\n")
        listening.listener.stop(20)
        assert listening.listener._idle == {}
        for connection in whole:
            assert connection.makefile("rb").read().endswith(b"GET /whole ")
        assert cut.makefile("rb").read().startswith(b"HTTP/1.1 400 ")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_all_addresses_are_those_of_ipv6_too() -> None:
    with bind_socket(ANY_HOST, 0, "--rest_api_port") as bound:
        bound.listen()
        assert bound.family is socket.AF_INET6
        socket.create_connection(("127.0.0.1", bound.getsockname()[1]), 5).close()
