"""KServe: an InferenceService that fits its mode, and an error for what the mode would ignore."""

import subprocess
from dataclasses import replace

import pytest
import yaml
from kubernetes.client import V1PodSpec

from modelport._version import VERSION
from modelport.errors import SpecError
from modelport_manifests.check import check_folder
from modelport_manifests.kserve import KServe
from modelport_manifests.kserve.predictor import canary_name

BACKENDS = ("bentoml", "torchserve", "tfserving")
CANARY = {"strategy": {"canary": {"steps": [10, 50, 100]}}}
STANDARD = {
    "deploy": {
        "namespace": "ml",
        "autoscale": {"min": 2, "max": 6, "cpu_percent": 60},
        "monitoring": True,
        "pull_secret": "registry",
        **CANARY,
    }
}
KNATIVE = {"deploy": {**STANDARD["deploy"], "kserve": {"mode": "knative"}}}
MODE = "serving.kserve.io/deploymentMode"
CLASS = "autoscaling.knative.dev/class"


@pytest.fixture
def rendered(make_release):
    """Give what is written, as data by path; a file with one document gives it, others a list."""

    def make(*backends, **changes):
        files = KServe().render(make_release(*backends, **changes))
        found = {file.path: list(yaml.safe_load_all(file.content.data)) for file in files}
        return {path: each[0] if len(each) == 1 else each for path, each in found.items()}

    return make


@pytest.fixture
def write(make_release, tmp_path):
    """Write what is rendered; give the folder."""

    def make(*backends, **changes):
        for file in KServe().render(make_release(*backends, **changes)):
            path = tmp_path / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content.data)
        return tmp_path

    return make


def predictor_of(files):
    return files["inferenceservice.yaml"]["spec"]["predictor"]


@pytest.mark.parametrize(("mode", "changes"), [("standard", STANDARD), ("knative", KNATIVE)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_golden(make_release, golden, backend, mode, changes):
    for file in KServe().render(make_release(backend, **changes)):
        text = file.content.data.decode().replace(f"modelport {VERSION}", "modelport VERSION")
        golden(f"manifests/kserve/{mode}-{backend}/{file.path}", text)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        STANDARD,
        KNATIVE,
        {"deploy": {"kserve": {"mode": "knative"}, "autoscale": {"min": 0, "max": 3}}},
        {"deploy": {"weights": "init_container"}},
        {"deploy": {"weights": "volume"}, "resources": {"gpu": 1}, "environment": {"device": "cuda"}},
    ],
    ids=["nothing", "standard", "knative", "to zero", "init container", "volume"],
)
def test_no_finding_in_what_is_written(write, changes):
    assert check_folder(write(*BACKENDS, **changes)) == ()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_image_stands_in_the_inference_service(rendered, services, backend):
    predictor = predictor_of(rendered(backend))
    (container,) = predictor["containers"]
    assert container["name"] == "kserve-container"
    assert container["image"] == services[backend].image
    assert "model" not in predictor


def test_standard_mode(rendered):
    files = rendered("torchserve", **STANDARD)
    service = files["inferenceservice.yaml"]
    predictor = predictor_of(files)
    assert service["metadata"]["annotations"][MODE] == "Standard"
    assert service["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "hpa"
    assert {key: predictor[key] for key in ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget")} == {
        "minReplicas": 2,
        "maxReplicas": 6,
        "scaleMetric": "cpu",
        "scaleTarget": 60,
    }
    assert "canaryTrafficPercent" not in predictor
    assert predictor["terminationGracePeriodSeconds"] == 40
    assert "poddisruptionbudget.yaml" in files


@pytest.mark.parametrize(
    ("backend", "ports"),
    [
        ("bentoml", [("http1", 3000)]),
        ("torchserve", [("http1", 8080), ("metrics", 8082), ("h2c", 7070)]),
        ("tfserving", [("http1", 8501), ("h2c", 8500)]),
    ],
)
def test_ports_in_standard_mode(rendered, backend, ports):
    (container,) = predictor_of(rendered(backend))["containers"]
    assert [(port["name"], port["containerPort"]) for port in container["ports"]] == ports


@pytest.mark.parametrize(("backend", "port"), [("bentoml", 3000), ("torchserve", 8080), ("tfserving", 8501)])
def test_knative_takes_one_port_and_what_it_has_no_own_of(rendered, backend, port):
    predictor = predictor_of(rendered(backend, **KNATIVE))
    (container,) = predictor["containers"]
    assert container["ports"] == [{"name": "http1", "containerPort": port, "protocol": "TCP"}]
    assert not {"lifecycle", "startupProbe", "livenessProbe"} & container.keys()
    assert not {"terminationGracePeriodSeconds", "topologySpreadConstraints", "securityContext"} & predictor.keys()
    assert container["securityContext"]["runAsNonRoot"] is True
    assert predictor["annotations"]["serving.knative.dev/progress-deadline"].endswith("s")


def test_readiness_is_a_command_where_the_port_is_not_served(rendered, services):
    (container,) = predictor_of(rendered("torchserve", **KNATIVE))["containers"]
    assert container["readinessProbe"]["exec"]["command"] == list(services["torchserve"].probe)
    (container,) = predictor_of(rendered("bentoml", **KNATIVE))["containers"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": 3000}


def test_knative_scales_by_cpu_with_the_hpa_and_to_zero_without(rendered):
    files = rendered("bentoml", **KNATIVE)
    assert files["inferenceservice.yaml"]["metadata"]["annotations"][CLASS] == "hpa.autoscaling.knative.dev"
    assert predictor_of(files)["scaleMetric"] == "cpu"
    zero = rendered("bentoml", deploy={"kserve": {"mode": "knative"}, "autoscale": {"min": 0, "max": 3}})
    assert CLASS not in zero["inferenceservice.yaml"]["metadata"]["annotations"]
    assert predictor_of(zero)["minReplicas"] == 0
    assert "scaleMetric" not in predictor_of(zero)


def test_canary_of_knative_is_a_share(rendered):
    files = rendered("bentoml", **KNATIVE)
    canary = files["canary/inferenceservice.yaml"]
    assert canary["spec"]["predictor"].pop("canaryTrafficPercent") == 10
    assert canary == files["inferenceservice.yaml"]


def test_canary_of_standard_is_a_patch(rendered):
    files = rendered("bentoml", "torchserve", **STANDARD)
    patch = files["canary/torchserve.yaml"]
    (canary,) = patch["spec"]["canary"]
    stable = next(each for each in files["inferenceservice.yaml"] if each["metadata"]["name"] == "digits-torchserve")
    assert patch["metadata"] == {"name": "digits-torchserve", "namespace": "ml"}
    assert canary["trafficPercent"] == 10
    assert canary["predictor"]["name"] == "v1-2-0"
    assert canary["predictor"]["containers"] == stable["spec"]["predictor"]["containers"]
    assert not {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget"} & canary["predictor"].keys()
    assert "predictor" not in patch["spec"]


def test_canary_names_differ_and_fit():
    long = "m" * 45
    names = [canary_name("digits", version) for version in ("1.2.0", "1-2.0", "1.2_0", "V1", "v1", "1.2.0+b")]
    assert len(set(names)) == len(names)
    assert names[0] == "v1-2-0"
    assert len(f"{long}-{canary_name(long, '2026.11.22.1')}-predictor") <= 63


def test_monitoring_finds_the_pods(rendered):
    files = rendered("torchserve", **STANDARD)
    (endpoint,) = files["podmonitor.yaml"]["spec"]["podMetricsEndpoints"]
    assert endpoint["portNumber"] == 8082
    labels = predictor_of(files)["labels"]
    assert files["podmonitor.yaml"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    rules = {rule["alert"]: rule for rule in files["prometheusrule.yaml"]["spec"]["groups"][0]["rules"]}
    assert 'deployment=~"digits-torchserve-(.+-)?predictor.*"' in rules["ModelportNotReady"]["expr"]


def test_weights_in_standard_mode(rendered):
    predictor = predictor_of(rendered("tfserving", deploy={"weights": "init_container"}))
    assert predictor["initContainers"][0]["image"].endswith("-weights")


@pytest.mark.parametrize(
    ("deploy", "key"),
    [
        ({"strategy": {"blue_green": {}}}, "deploy.strategy.blue_green"),
        ({"ingress": {"host": "a.example.com"}}, "deploy.ingress"),
        ({"replicas": 0}, "deploy.replicas"),
        ({"autoscale": {"min": 0, "max": 2}}, "deploy.autoscale.min"),
        (
            {"kserve": {"mode": "knative"}, "autoscale": {"min": 0, "max": 2, "cpu_percent": 50}},
            "deploy.autoscale.cpu_percent",
        ),
        ({"kserve": {"mode": "knative"}, "weights": "volume"}, "deploy.weights"),
        ({"kserve": {"mode": "knative"}, "replicas": 0}, "deploy.replicas"),
    ],
)
def test_refuses_what_the_mode_ignores(rendered, deploy, key):
    with pytest.raises(SpecError) as caught:
        rendered("bentoml", deploy=deploy)
    assert str(caught.value).startswith(f"{key}:")


def test_refuses_a_model_that_kserves_own_limit_does_not_hold(make_release):
    release = make_release("bentoml", resources={"memory": None})
    large = replace(release, services=(replace(release.services[0], model_bytes=3 * 2**30),))
    with pytest.raises(SpecError, match=r"resources\.memory"):
        KServe().render(large)
    assert KServe().render(release)


def test_warns_of_what_is_not_reached(make_release):
    warnings = KServe().warnings(make_release("torchserve", "bentoml", **KNATIVE))
    assert warnings == ("torchserve: Knative serves one port, rest; grpc cannot be reached",)
    assert KServe().warnings(make_release("torchserve", **STANDARD)) == ()
    assert "1 and 2Gi" in KServe().warnings(make_release("bentoml", resources={"cpu": None}))[0]
    gpu = {"deploy": {"kserve": {"mode": "knative"}}, "resources": {"gpu": 1}, "environment": {"device": "cuda"}}
    assert KServe().warnings(make_release("bentoml", **gpu))[0].startswith("resources.gpu:")


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_kubernetes_takes_the_pods(rendered, tool, tmp_path, version):
    pods = []
    for changes in (STANDARD, KNATIVE, {"deploy": {"weights": "init_container"}}):
        for service in rendered(*BACKENDS, **changes)["inferenceservice.yaml"]:
            fields = set(V1PodSpec.attribute_map.values())
            spec = {key: value for key, value in service["spec"]["predictor"].items() if key in fields}
            pods.append({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec})
    file = tmp_path / "pods.yaml"
    file.write_text(yaml.safe_dump_all(pods), encoding="utf-8")
    command = [tool("kubernetes-validate"), "--strict", "-k", version, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
