"""The ports: what is said where one cannot be opened."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from modelport_tfserving.server.flags import parse_flags
from modelport_tfserving.server.listeners import start_grpc
from modelport_tfserving.server.plan import make_plan
from modelport_tfserving.server.statuses import Code, ServingError


@pytest.mark.parametrize("tls", [False, True])
def test_a_key_that_cannot_be_read_is_not_told_as_a_taken_port_alone(tmp_path: Path, tls: bool) -> None:
    config = tmp_path / "tls.config"
    config.write_text('server_key: "no key" server_cert: "no certificate"')
    with socket.create_server(("127.0.0.1", 0)) as taken:
        flags = [f"--port={taken.getsockname()[1]}", "--model_base_path=/m"]
        options = parse_flags([*flags, f"--ssl_config_file={config}"] if tls else flags)
        with pytest.raises(ServingError) as caught:
            start_grpc(options, make_plan(options), [])
    assert caught.value.code is Code.UNAVAILABLE
    assert ("--ssl_config_file is not PEM" in caught.value.message) is tls
