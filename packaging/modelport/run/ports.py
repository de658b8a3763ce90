"""Free ports, and clear words about taken ones."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from contextlib import ExitStack

from modelport.errors import ServerFailed


def choose_ports(wanted: Mapping[str, int], host: str) -> dict[str, int]:
    """Give every name a port: the wanted one, or a free one where 0 is wanted.

    Raises:
        ServerFailed: A wanted port is taken, or not ours to bind to.
    """
    check_ports((number for number in wanted.values() if number), host)
    with ExitStack() as stack:
        # All sockets stay open until the last one has its number, so that no two get the same.
        chosen = {}
        for name, number in wanted.items():
            chosen[name] = number or stack.enter_context(_bound(host, 0)).getsockname()[1]
    return chosen


def check_ports(numbers: Iterable[int], host: str) -> None:
    """Raise where a port cannot be bound to.

    Raises:
        ServerFailed: With the port, the reason and the way out.
    """
    for number in numbers:
        try:
            _bound(host, number).close()
        except OSError as error:
            raise ServerFailed(
                f"port {number} on {host}: {error.strerror}. End what listens there, or choose another port "
                "with --port (0 takes free ones)"
            ) from error


def _bound(host: str, number: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    # Lingering connections of a server that ended a moment ago do not make a port taken.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, number))
        listener.listen(1)
    except OSError:
        listener.close()
        raise
    return listener
