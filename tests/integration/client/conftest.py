"""Small servers on real sockets, whose every byte a test chooses."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from concurrent import futures
from dataclasses import dataclass

import pytest


@dataclass
class Request:
    method: str
    target: str
    headers: dict
    body: bytes
    connection: int


def answer(status, body=b"", **headers):
    """The bytes of a whole HTTP answer."""
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class HttpServer:
    """Answers every request with the bytes that ``respond(request)`` gives; None closes the connection."""

    def __init__(self, respond):
        self.respond = respond
        self.requests = []
        self.close_after = False  # whether a connection ends with the first answer
        self._connections = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._serve, args=(connection, len(self._connections)), daemon=True).start()

    def _serve(self, connection, number):
        with contextlib.suppress(OSError), connection:
            stream = connection.makefile("rb")
            while line := stream.readline():
                method, target, _ = line.decode().split(" ", 2)
                headers = {}
                while (field := stream.readline().decode().strip()) != "":
                    name, _, value = field.partition(":")
                    headers[name.lower()] = value.strip()
                body = stream.read(int(headers.get("content-length", 0)))
                request = Request(method, target, headers, body, number)
                self.requests.append(request)
                data = self.respond(request)
                if data is None:
                    return
                connection.sendall(data)
                if self.close_after or b"content-length" not in data:
                    return

    def reset(self):
        """Cut all connections hard, as a crash does."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.shutdown(socket.SHUT_RDWR)
                connection.close()

    def stop(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()


@pytest.fixture
def http():
    """Start a server: ``http(respond)``."""
    servers = []

    def start(respond):
        servers.append(HttpServer(respond))
        return servers[-1]

    start.answer = answer
    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def grpc_server():
    """Start a gRPC server: ``grpc_server({method: respond(body, context) -> bytes})`` gives its ``host:port``."""
    grpc = pytest.importorskip("grpc", reason="grpcio is not installed: pip install 'modelport[grpc]'")
    servers = []

    class Handler(grpc.GenericRpcHandler):
        def __init__(self, methods):
            self.methods = methods

        def service(self, details):
            respond = self.methods.get(details.method)
            return respond and grpc.unary_unary_rpc_method_handler(respond)

    def start(methods, port=0):
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)]
        server = grpc.server(futures.ThreadPoolExecutor(4), options=options)
        server.add_generic_rpc_handlers([Handler(methods)])
        number = server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
        servers.append(server)
        start.last = server
        return f"127.0.0.1:{number}"

    yield start
    for server in servers:
        server.stop(None).wait(5)


@pytest.fixture
def free_port():
    """A port where nobody listens; it stays bound, so that the system gives it to nobody else."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]
