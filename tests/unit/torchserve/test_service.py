"""The service: the stock launcher, a folder of its own, and no way round the choice about tokens."""

from pathlib import Path

import pytest

from modelport.artifact import Artifact
from modelport.backend import ServeSettings
from modelport.errors import SpecError
from modelport_torchserve.backend import TorchServeBackend
from modelport_torchserve.java import Java
from modelport_torchserve.service import plan_service

JAVA = Java(home=Path("/opt/java"), version="17.0.1", origin="PATH")
PORTS = {"rest": 1001, "management": 1002, "metrics": 1003, "grpc": 1004, "grpc_management": 1005}


def plan(host="127.0.0.1", version="1.2.0", **raw):
    spec = {
        "modelport": 1,
        "name": "toy",
        "version": version,
        "model": {"framework": "pytorch", "source": "model.pt"},
        "labels": ["a", "b"],
        "backends": {"torchserve": raw},
    }
    artifact = Artifact(backend="torchserve", path=Path("/dist"), sha256="", record={"spec": spec})
    options = TorchServeBackend().parse_options(raw)
    return plan_service(artifact, options, ServeSettings(host=host, ports=PORTS), JAVA)


def config(service):
    text = service.files[0].content.data.decode()
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def test_command_and_environment():
    service = plan()
    assert Path(service.command[0]).name == "torchserve"
    assert service.command[1:] == (
        "--start", "--foreground", "--ncs",
        "--ts-config", "{state}/config.properties", "--model-store", "/dist/model-store",
    )  # fmt: skip
    assert service.environment["JAVA_HOME"] == "/opt/java"
    assert {service.environment[name] for name in ("TMPDIR", "TEMP")} == {"{state}"}
    assert service.environment["PYTHONPATH"] is None
    assert "Java 17.0.1 from PATH" in service.server


def test_chosen_ports_stand_in_the_configuration():
    service = plan()
    said = config(service)
    assert said["inference_address"] == "http://127.0.0.1:1001"
    assert said["management_address"] == "http://127.0.0.1:1002"
    assert said["metrics_address"] == "http://127.0.0.1:1003"
    assert (said["grpc_inference_port"], said["grpc_management_port"]) == ("1004", "1005")
    assert said["model_store"] == "/dist/model-store"
    assert {port.name: port.number for port in service.ports} == PORTS


def test_endpoints_and_readiness():
    service = plan(version="1.0+x")
    assert service.endpoints == {
        "rest": "http://127.0.0.1:1001/predictions/toy/1.0%2Bx",
        "grpc": "grpc://127.0.0.1:1004/toy/1.0%2Bx",
    }
    assert (service.readiness.port, service.readiness.path) == ("management", "/models/toy/1.0%2Bx?customized=true")


def test_loopback_runs_without_tokens_and_says_so():
    service = plan(address="0.0.0.0", token_authorization=True)
    assert config(service)["disable_token_authorization"] == "true"
    assert "without tokens on this address" in service.server


def test_everybody_is_let_in_only_when_the_spec_says_so():
    with pytest.raises(SpecError, match=r"token_authorization: must be said to serve on 0\.0\.0\.0"):
        plan(host="0.0.0.0")
    service = plan(host="0.0.0.0", address="0.0.0.0", token_authorization=False)
    assert config(service)["inference_address"] == "http://0.0.0.0:1001"
    assert service.endpoints["rest"].startswith("http://127.0.0.1:1001/")


def test_tokens_elsewhere_are_the_stock_servers_business():
    with pytest.raises(SpecError, match=r"runner has no token.*torchserve --start --foreground"):
        plan(host="192.168.1.5", address="0.0.0.0", token_authorization=True)


def test_no_ipv6():
    with pytest.raises(SpecError, match="IPv4"):
        plan(host="::1")
