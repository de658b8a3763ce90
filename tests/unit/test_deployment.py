"""From a service to ports, URLs and a first answer."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from modelport.client.base import ServerError
from modelport.deployment import Service, Wish, ask_sample, host_ports, local_urls
from modelport.errors import ServerFailed, SpecError
from modelport.plan import Metrics, Port, Readiness, ServicePlan
from modelport.spec.schema import VerifySection
from modelport_runtime.signature import Signature, TensorSpec

PLAN = ServicePlan(
    backend="toy",
    server="toy server",
    command=(),
    ports=(
        Port(name="rest", number=8080),
        Port(name="grpc", number=7070, protocol="grpc"),
        Port(name="management", number=8081),
        Port(name="metrics", number=8082),
    ),
    readiness=Readiness(port="rest", path="/"),
    endpoints={"rest": "http://127.0.0.1:8080/predictions/digits", "grpc": "grpc://127.0.0.1:7070/digits"},
    image="digits:1",
    metrics=Metrics(port="metrics", path="/", requests="", errors=""),
)
WISH = Wish(spec=Path("modelport.yaml"), backend="toy", target="podman", output=Path("dist"))


class ToyClient:
    def __init__(self, url, backend):
        self.url = url
        self.backend = backend

    def ready(self):
        return True

    def predict(self, inputs):
        self.backend.asked[self.url] = inputs
        if self.backend.fault is not None:
            raise self.backend.fault
        return self.backend.answer or inputs

    def close(self):
        self.backend.closed.append(self.url)


class ToyBackend:
    name = "toy"
    protocols = ("rest", "grpc")

    def __init__(self, fault=None):
        self.fault = fault
        self.answer = None
        self.asked = {}
        self.closed = []

    def client(self, url, **settings):
        return ToyClient(url, self)


@pytest.fixture
def service(tmp_path):
    np.savez(tmp_path / "samples.npz", x=np.arange(6, dtype=np.float32).reshape(3, 2))
    served = Signature(inputs=(TensorSpec.from_json({"name": "x", "dtype": "float32", "shape": [-1, 2]}),), outputs=())
    spec = SimpleNamespace(verify=VerifySection())
    model = SimpleNamespace(samples=SimpleNamespace(path=tmp_path / "samples.npz"), served=served, spec=spec)
    return Service(model=model, backend=ToyBackend(), artifact=None, plan=PLAN, files=())


def test_the_servers_own_ports_unless_told_otherwise(service):
    assert host_ports(service, WISH) == {8080: 8080, 7070: 7070, 8082: 8082}
    assert host_ports(service, replace(WISH, port=9000)) == {8080: 9000, 7070: 7070, 8082: 8082}
    assert host_ports(service, replace(WISH, grpc_port=9001)) == {8080: 8080, 7070: 9001, 8082: 8082}


def test_free_ports(service):
    ports = host_ports(service, replace(WISH, port=0, grpc_port=9001))
    assert ports[7070] == 9001
    assert len(set(ports.values())) == 3
    assert 0 not in ports.values()


def test_no_grpc_port_for_a_server_without(service):
    rest = replace(service.plan, ports=PLAN.ports[:1], metrics=None)
    with pytest.raises(SpecError, match="--grpc-port: toy speaks no gRPC"):
        host_ports(replace(service, plan=rest), replace(WISH, grpc_port=1))


def test_urls_lead_to_the_ports_of_this_machine(service):
    assert local_urls(service, {8080: 18080, 7070: 17070, 8082: 18082}) == {
        "rest": "http://127.0.0.1:18080/predictions/digits",
        "grpc": "grpc://127.0.0.1:17070/digits",
    }


def test_the_first_sample_goes_over_every_protocol(service):
    assert ask_sample(service, PLAN.endpoints) == "a sample was answered over rest and grpc"
    backend = service.backend
    assert {url: inputs["x"].tolist() for url, inputs in backend.asked.items()} == {
        url: [[0.0, 1.0]] for url in PLAN.endpoints.values()
    }
    assert backend.closed == list(PLAN.endpoints.values())


@pytest.fixture
def expecting(service):
    """A service of a model whose samples say what comes of them."""
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.savez(service.model.samples.path, x=x, y=x[:, 0] * 2)
    service.model.served = replace(
        service.model.served, outputs=(TensorSpec.from_json({"name": "y", "dtype": "float32", "shape": [-1]}),)
    )
    return service


def test_an_answer_is_compared_with_what_the_samples_expect(expecting):
    expecting.backend.answer = {"y": np.array([0.0], np.float32)}
    assert ask_sample(expecting, PLAN.endpoints) == "a sample was answered as expected over rest and grpc"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"y": np.array([0.5], np.float32)}, r"y\[0\]: 0\.5, should be 0\.0"),
        ({"y": np.array([np.nan], np.float32)}, r"y\[0\]: nan"),
        ({"z": np.array([0.0], np.float32)}, "y: missing in the answer"),
    ],
)
def test_another_answer_than_expected_is_a_failure(expecting, answer, said):
    expecting.backend.answer = answer
    with pytest.raises(ServerFailed, match=rf"8080/predictions/digits: answers the first sample otherwise.*{said}"):
        ask_sample(expecting, PLAN.endpoints)


def test_an_output_that_is_declared_must_come(expecting):
    np.savez(expecting.model.samples.path, x=np.zeros((1, 2), np.float32))
    with pytest.raises(ServerFailed, match="y: missing in the answer"):
        ask_sample(expecting, PLAN.endpoints)


def test_where_another_version_may_answer_nothing_is_compared(expecting):
    expecting.backend.answer = {"y": np.array([0.5], np.float32)}
    said = ask_sample(replace(expecting, shared=True), PLAN.endpoints)
    assert said == "a sample was answered over rest and grpc"


def test_without_samples_readiness_is_asked(service):
    service.model.samples = None
    assert ask_sample(service, PLAN.endpoints).startswith("it says that it is ready, over rest and grpc; the spec has")
    assert service.backend.asked == {}


def test_what_cannot_be_reached_is_not_asked(service):
    assert "no sample was sent" in ask_sample(service, {})
    assert service.backend.closed == []


def test_a_sample_that_is_not_answered_is_a_failure(service):
    failing = replace(service, backend=ToyBackend(ServerError("out of memory")))
    with pytest.raises(ServerError, match="out of memory"):
        ask_sample(failing, PLAN.endpoints)
    assert failing.backend.closed


def test_a_way_in_that_leads_nowhere_is_not_waited_for_without_end(service):
    backend = ToyBackend()
    backend.client = lambda url: SimpleNamespace(ready=lambda: False, close=lambda: None)
    with pytest.raises(ServerFailed, match="does not answer, though what is behind it is ready"):
        ask_sample(replace(service, backend=backend), PLAN.endpoints, wait_s=0)
