"""Opens the ports: the gRPC server with its options, and the socket that HTTP listens on."""

from __future__ import annotations

import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from modelport_tfserving.server.configs import TLSConfig
from modelport_tfserving.server.flags import Options
from modelport_tfserving.server.plan import ANY_HOST, Plan
from modelport_tfserving.server.statuses import Code, ServingError, invalid_argument

_log = logging.getLogger(__name__)
# gRPC says the same of a port that is taken and of a key that cannot be read.
_TLS_HINT = (
    " If the address is free: server_key, server_cert or custom_ca of --ssl_config_file is not PEM, or the key is not "
    "the certificate's."
)


def bind_socket(host: str, port: int, flag: str) -> socket.socket:
    """Return a bound socket that does not listen yet. Raises UNAVAILABLE for a port that is taken.

    On all addresses means on those of IPv6 too, where the machine has it.
    """
    try:
        if host == ANY_HOST and (every := _bind_every(port)):
            return every
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, OverflowError) as error:
        raise ServingError(
            Code.UNAVAILABLE, f"cannot listen on {host}:{port} ({error}); choose another {flag}"
        ) from None
    return bound


def _bind_every(port: int) -> socket.socket | None:
    if not socket.has_dualstack_ipv6():
        return None
    bound = socket.socket(socket.AF_INET6)
    try:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("::", port))
    except OSError:
        bound.close()  # Then IPv4 tells what is wrong, or works.
        return None
    return bound


def start_grpc(options: Options, plan: Plan, handlers: list[Any]) -> Any:
    """Start a gRPC server with these generic handlers; it listens when this returns."""
    import grpc

    channel_arguments: dict[str, int | str] = {
        "grpc.max_receive_message_length": -1,
        "grpc.max_send_message_length": -1,
        # Without this a second server would share the port, and take every other request.
        "grpc.so_reuseport": 0,
    }
    for argument in filter(None, options.grpc_channel_arguments.split(",")):
        key, equals, value = argument.partition("=")
        if not equals:
            raise invalid_argument(f"--grpc_channel_arguments: {argument} is not key=value")
        # Given twice, the first would hold: gRPC does not let a later one replace it.
        channel_arguments[key] = int(value) if value.lstrip("-").isdigit() else value
    pool = ThreadPoolExecutor(plan.threads(options.grpc_max_threads), "grpc")
    server = grpc.server(pool, options=list(channel_arguments.items()))
    server.add_generic_rpc_handlers(handlers)
    host = f"[{plan.host}]" if ":" in plan.host else plan.host
    addresses = [f"{host}:{options.port}"] if options.port else []
    addresses += [f"unix:{options.grpc_socket_path}"] if options.grpc_socket_path else []
    for address in addresses:
        try:
            if plan.tls is None:
                server.add_insecure_port(address)
            else:
                server.add_secure_port(address, _credentials(plan.tls))
        except RuntimeError as error:
            hint = "" if plan.tls is None else _TLS_HINT
            raise ServingError(Code.UNAVAILABLE, f"gRPC cannot listen on {address}: {error}{hint}") from None
    server.start()
    for address in addresses:
        _log.info("Running gRPC ModelServer at %s ...", address)
    return server


def _credentials(tls: TLSConfig) -> Any:
    import grpc

    return grpc.ssl_server_credentials(
        [(tls.server_key, tls.server_cert)],
        root_certificates=tls.custom_ca or None,
        require_client_auth=tls.client_verify,
    )
