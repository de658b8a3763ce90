"""Releases as the targets get them: one model, and services modelled on the three servers in their images."""

import pytest

from modelport.plan import Generated, Metrics, PlannedFile, Port, Readiness, ServicePlan
from modelport.spec.schema import ModelSpec
from modelport.target import Release

DIGEST = "@sha256:" + "0123456789abcdef" * 4

SPEC = {
    "modelport": 1,
    "name": "digits",
    "version": "1.2.0",
    "model": {"framework": "pytorch", "source": "model.pt"},
    "serving": {"timeout_s": 10},
    "resources": {"cpu": "500m", "memory": "2Gi"},
}


def file(path, text):
    return PlannedFile(path=path, content=Generated(data=text.encode(), origin="the spec"))


BENTOML = ServicePlan(
    backend="bentoml",
    server="bentoml",
    command=(),
    environment={"BENTOML_HOME": "/tmp/bentoml", "PYTHONPATH": None},
    ports=(Port(name="rest", number=3000),),
    readiness=Readiness(port="rest", path="/readyz"),
    endpoints={"rest": "http://127.0.0.1:3000"},
    image=f"registry.example.com/digits:1.2.0-bentoml{DIGEST}",
    writable=("/tmp",),
    probe=("python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/readyz')"),
    metrics=Metrics(
        port="rest",
        path="/metrics",
        requests="sum(rate(bentoml_service_request_total{$selector}[$window]))",
        errors='sum(rate(bentoml_service_request_total{http_response_code=~"5..",$selector}[$window]))',
        latency_s="histogram_quantile(0.95, sum by (le) "
        "(rate(bentoml_service_request_duration_seconds_bucket{$selector}[$window])))",
        saturation="sum(bentoml_service_request_in_progress{$selector})",
    ),
    model_bytes=40_000,
    model_folder="/home/bentoml/bento/src/model",
)

TORCHSERVE = ServicePlan(
    backend="torchserve",
    server="torchserve",
    command=(),
    environment={"TEMP": "/tmp", "TS_CONFIG_FILE": None},
    files=(file("config.properties", "inference_address=http://0.0.0.0:8080\nmetrics_mode=prometheus\n"),),
    ports=(
        Port(name="rest", number=8080),
        Port(name="management", number=8081),
        Port(name="metrics", number=8082),
        Port(name="grpc", number=7070, protocol="grpc"),
        Port(name="grpc_management", number=7071, protocol="grpc"),
    ),
    readiness=Readiness(port="management", path="/models/digits/1.2.0?customized=true"),
    endpoints={
        "rest": "http://127.0.0.1:8080/predictions/digits/1.2.0",
        "grpc": "grpc://127.0.0.1:7070/digits/1.2.0",
    },
    start_timeout_s=180,
    grace_s=20,
    image=f"registry.example.com/digits:1.2.0-torchserve{DIGEST}",
    config_folder="/etc/modelport",
    writable=("/tmp",),
    probe=("python", "/opt/modelport/probe.py"),
    metrics=Metrics(
        port="metrics",
        path="/metrics",
        requests="sum(rate(ts_inference_requests_total{$selector}[$window]))",
        errors="sum(rate(Requests5XX{$selector}[$window]))",
        latency_s=None,
        saturation="sum(QueueTime{$selector})",
    ),
    model_bytes=40_000,
    model_folder="/opt/modelport/model-store",
)

TFSERVING = ServicePlan(
    backend="tfserving",
    server="tensorflow_model_server",
    command=(),
    files=(
        file("models.config", 'model_config_list {\n  config { name: "digits" base_path: "/models/digits" }\n}\n'),
        file("batching/batching.config", "max_batch_size { value: 32 }\n"),
    ),
    ports=(Port(name="rest", number=8501), Port(name="grpc", number=8500, protocol="grpc")),
    readiness=Readiness(port="rest", path="/v1/models/digits/versions/1002000"),
    endpoints={
        "rest": "http://127.0.0.1:8501/v1/models/digits/versions/1002000",
        "grpc": "grpc://127.0.0.1:8500/digits/1002000",
        "metrics": "http://127.0.0.1:8501/monitoring/prometheus/metrics",
    },
    image=f"registry.example.com/digits:1.2.0-tfserving{DIGEST}",
    config_folder="/etc/modelport",
    writable=("/tmp",),
    probe=("/usr/bin/modelport-probe",),
    metrics=Metrics(
        port="rest",
        path="/monitoring/prometheus/metrics",
        requests="sum(rate(:tensorflow:serving:request_count{$selector}[$window]))",
        errors='sum(rate(:tensorflow:serving:request_count{status!="OK",$selector}[$window]))',
        latency_s="histogram_quantile(0.95, sum by (le) "
        "(rate(:tensorflow:serving:request_latency_bucket{$selector}[$window]))) / 1e6",
    ),
    model_bytes=300_000_000,
    model_folder="/models/digits",
)

SERVICES = {service.backend: service for service in (BENTOML, TORCHSERVE, TFSERVING)}


def merged(base, changes):
    found = dict(base)
    for key, value in changes.items():
        found[key] = (
            merged(found[key], value) if isinstance(value, dict) and isinstance(found.get(key), dict) else value
        )
    return found


@pytest.fixture(scope="session")
def services():
    """Give the services by backend."""
    return SERVICES


@pytest.fixture(scope="session")
def make_spec():
    """Give the spec with changes merged into it."""
    return lambda **changes: ModelSpec.model_validate(merged(SPEC, changes))


@pytest.fixture(scope="session")
def make_release(make_spec):
    """Give a release of some backends, with changes merged into the spec."""

    def make(*backends, **changes):
        chosen = tuple(SERVICES[name] for name in backends)
        return Release(spec=make_spec(**changes), spec_path="digits/modelport.yaml", services=chosen)

    return make
