"""Kubernetes manifests: what each object says, that Kustomize resolves the overlays, that the API would take them."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from modelport._version import VERSION
from modelport.errors import SpecError
from modelport.plan import Generated, PlannedFile
from modelport.run.overlay import resolve_objects
from modelport_manifests.kubernetes import Kubernetes, plan_base

GOLDEN = Path(__file__).parents[2] / "golden" / "manifests" / "kubernetes"
BACKENDS = ("bentoml", "torchserve", "tfserving")
OVERLAYS = ("dev", "prod", "canary", "blue-green", "blue-green-switch")
VERSIONS = ("1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37")

NGINX = {"host": "digits.example.com", "class_name": "nginx", "tls_secret": "digits-tls"}
GATEWAY = {"host": "digits.example.com", "kind": "gateway", "gateway": "public"}
FULL = {
    "deploy": {
        "namespace": "ml",
        "autoscale": {"min": 3, "max": 9},
        "monitoring": True,
        "pull_secret": "registry",
        "strategy": {"canary": {"steps": [20, 50], "error_rate": 0.02}},
        "ingress": NGINX,
    }
}
GPU = {"resources": {"gpu": 2}, "environment": {"device": "cuda"}}
EVERY = [{}, FULL, {"deploy": {"replicas": 4, "weights": "init_container", "ingress": GATEWAY}}, GPU]


@pytest.fixture
def base(make_spec, services):
    """Give the base's objects of one backend by kind."""

    def make(backend, **changes):
        return {each["kind"]: each for each in plan_base(make_spec(**changes), services[backend])}

    return make


@pytest.fixture
def pod(base):
    return lambda backend, **changes: base(backend, **changes)["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture
def container(pod):
    return lambda backend, **changes: pod(backend, **changes)["containers"][0]


@pytest.fixture
def overlay(tool, tmp_path):
    """Resolve an overlay with the real Kustomize; give its objects by kind and name."""

    def build(release, name):
        write(release, tmp_path)
        folder = tmp_path / ("base" if name == "base" else f"overlays/{name}")
        done = run(tool("kubectl"), "kustomize", str(folder))
        assert done.returncode == 0, done.stderr
        return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(done.stdout)}

    return build


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def write(release, folder):
    for file in Kubernetes().render(release):
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.path).write_bytes(file.content.data)


def matches(selector, labels):
    return selector.items() <= labels.items()


@pytest.mark.parametrize("backend", BACKENDS)
def test_golden(make_release, golden, backend):
    files = Kubernetes().render(make_release(backend, **FULL))
    for file in files:
        text = file.content.data.decode().replace(f"modelport {VERSION}", "modelport VERSION")
        golden(f"manifests/kubernetes/{backend}/{file.path}", text)
    stored = {path.relative_to(GOLDEN / backend).as_posix() for path in (GOLDEN / backend).rglob("*.yaml")}
    assert stored == {file.path for file in files}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_kubernetes_takes_every_object(make_release, tool, tmp_path, version):
    for number, changes in enumerate(EVERY):
        write(make_release(BACKENDS[number % 3], **changes), tmp_path / str(number))
    patches = {path for name in ("dev", "prod") for path in tmp_path.glob(f"*/overlays/{name}/*.yaml")}
    files = [path for path in tmp_path.rglob("*.yaml") if path.name != "kustomization.yaml" and path not in patches]
    done = run(tool("kubernetes-validate"), "--strict", "--quiet", "--no-warn", "-k", version, *map(str, files))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize(("version", "takes"), [("1.30", False), ("1.33", True), ("1.37", True)])
def test_image_volumes_need_a_newer_kubernetes(make_release, tool, tmp_path, version, takes):
    release = make_release("tfserving", deploy={"weights": "volume"})
    write(release, tmp_path)
    file = tmp_path / "base" / "deployment.yaml"
    assert "Kubernetes 1.33" in file.read_text()
    assert any("Kubernetes 1.33" in warning for warning in Kubernetes().warnings(release))
    done = run(tool("kubernetes-validate"), "--strict", "--quiet", "-k", version, str(file))
    assert (done.returncode == 0) is takes


@pytest.mark.parametrize("changes", EVERY)
@pytest.mark.parametrize("name", ["base", *OVERLAYS])
def test_kustomize_resolves_every_folder(make_release, overlay, name, changes):
    assert overlay(make_release("torchserve", **changes), name)


def test_several_backends_share_the_files(make_release, overlay):
    release = make_release(*BACKENDS, deploy={"autoscale": {"max": 3}, "namespace": "ml"})
    found = overlay(release, "dev")
    assert {name for kind, name in found if kind == "Deployment"} == {f"digits-{backend}" for backend in BACKENDS}
    assert all(each["metadata"]["namespace"] == "ml" for each in found.values())


def test_dev_has_one_replica_and_nothing_that_changes_it(make_release, overlay):
    found = overlay(make_release("bentoml", **FULL), "dev")
    assert found["Deployment", "digits-bentoml"]["spec"]["replicas"] == 1
    assert not {"HorizontalPodAutoscaler", "PodDisruptionBudget"} & {kind for kind, _ in found}


def test_prod_keeps_the_spec_and_spreads_strictly_over_nodes(make_release, overlay):
    release = make_release("bentoml", deploy={"replicas": 3})
    found = overlay(release, "prod")["Deployment", "digits-bentoml"]["spec"]
    assert found["replicas"] == 3
    spreads = [
        (each["topologyKey"], each["whenUnsatisfiable"])
        for each in found["template"]["spec"]["topologySpreadConstraints"]
    ]
    assert spreads == [
        ("kubernetes.io/hostname", "DoNotSchedule"),
        ("topology.kubernetes.io/zone", "ScheduleAnyway"),
        ("kubernetes.io/hostname", "ScheduleAnyway"),
    ]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [None, *OVERLAYS])
def test_what_deploy_applies_is_what_kustomize_resolves(make_release, overlay, backend, name):
    release = make_release(backend, **FULL)
    files = {file.path: file.content.data for file in Kubernetes().render(release)}
    ours = {(each["kind"], each["metadata"]["name"]): each for each in resolve_objects(files, name)}
    assert ours == overlay(release, name or "base")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("changes", EVERY)
def test_every_selector_finds_the_pods(base, backend, changes):
    found = base(backend, **changes)
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert matches(found["Deployment"]["spec"]["selector"]["matchLabels"], labels)
    assert matches(found["Service"]["spec"]["selector"], labels)
    assert matches(found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"], labels)
    assert matches(found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"], labels)
    if "ServiceMonitor" in found:
        selector = found["ServiceMonitor"]["spec"]["selector"]["matchLabels"]
        assert matches(selector, found["Service"]["metadata"]["labels"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_pod_security_restricted_holds(pod, backend):
    found = pod(backend, deploy={"weights": "init_container"})
    assert found["automountServiceAccountToken"] is False
    assert found["securityContext"]["runAsNonRoot"] is True
    assert not {"hostNetwork", "hostPID", "hostIPC"} & found.keys()
    assert {key for volume in found["volumes"] for key in volume} <= {"name", "emptyDir", "configMap"}
    for each in found["containers"] + found["initContainers"]:
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        }


def test_readiness_is_asked_over_http_where_the_port_can_be_reached(container):
    found = container("tfserving")
    assert found["readinessProbe"]["httpGet"] == {"path": "/v1/models/digits/versions/1002000", "port": 8501}
    assert found["startupProbe"]["httpGet"] == found["readinessProbe"]["httpGet"]


def test_readiness_is_the_probe_where_it_cannot(container, services):
    found = container("torchserve")
    assert found["readinessProbe"]["exec"] == {"command": list(services["torchserve"].probe)}
    assert "management" not in {port["name"] for port in found["ports"]}


def test_a_start_has_time_for_the_server_and_for_reading_the_model(make_spec, services):
    plan = replace(services["torchserve"], start_timeout_s=100, model_bytes=10 * 2**30)
    spec = make_spec(resources={"memory": "30Gi"})
    found = next(each for each in plan_base(spec, plan) if each["kind"] == "Deployment")
    probe = found["spec"]["template"]["spec"]["containers"][0]["startupProbe"]
    seconds = probe["periodSeconds"] * probe["failureThreshold"]
    assert seconds >= 100 + 200
    assert found["spec"]["progressDeadlineSeconds"] > seconds


@pytest.mark.parametrize("backend", BACKENDS)
def test_liveness_asks_for_a_connection_alone(container, backend):
    found = container(backend)
    assert found["livenessProbe"]["tcpSocket"] == {"port": found["ports"][0]["containerPort"]}
    assert all(
        probe["timeoutSeconds"] <= probe["periodSeconds"] for key, probe in found.items() if key.endswith("Probe")
    )


def test_a_pod_drains_before_it_ends(pod):
    found = pod("torchserve", serving={"timeout_s": 40})
    drain = int(found["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert found["terminationGracePeriodSeconds"] == drain + 40 + 20


def test_requests_are_limits(container):
    assert container("bentoml")["resources"] == {
        "requests": {"cpu": "500m", "memory": "2Gi"},
        "limits": {"cpu": "500m", "memory": "2Gi"},
    }
    assert "resources" not in container("bentoml", resources={"cpu": None, "memory": None})


def test_gpus_are_asked_for_and_their_nodes_are_tolerated(pod):
    found = pod("bentoml", **GPU)
    assert found["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert found["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


@pytest.mark.parametrize(
    ("backend", "volume"),
    [("bentoml", {"medium": "Memory", "sizeLimit": "65Mi"}), ("tfserving", {"sizeLimit": "351Mi"})],
)
def test_room_to_write_is_limited_and_in_memory_only_for_small_models(pod, backend, volume):
    assert pod(backend)["volumes"][0] == {"name": "scratch-0", "emptyDir": volume}


def test_configuration_is_named_after_its_content(base, make_spec, services):
    first = base("torchserve")
    name = first["ConfigMap"]["metadata"]["name"]
    assert first["ConfigMap"]["data"] == {
        "config.properties": "inference_address=http://0.0.0.0:8080\nmetrics_mode=prometheus\n"
    }
    assert first["Deployment"]["spec"]["template"]["spec"]["volumes"][-1]["configMap"] == {"name": name}
    other = PlannedFile(path="config.properties", content=Generated(data=b"workers=2\n", origin="the spec"))
    second = plan_base(make_spec(), replace(services["torchserve"], files=(other,)))
    assert name not in {each["metadata"]["name"] for each in second if each["kind"] == "ConfigMap"}


def test_a_file_in_a_folder_gets_its_path_back(base):
    found = base("tfserving")
    assert set(found["ConfigMap"]["data"]) == {"models.config", "batching.batching.config"}
    items = found["Deployment"]["spec"]["template"]["spec"]["volumes"][-1]["configMap"]["items"]
    assert {"key": "batching.batching.config", "path": "batching/batching.config"} in items


def test_configuration_that_is_no_text_or_too_large(make_spec, services):
    def with_files(*files):
        planned = (PlannedFile(path=path, content=Generated(data=data, origin="the spec")) for path, data in files)
        return replace(services["torchserve"], files=tuple(planned))

    found = {each["kind"]: each for each in plan_base(make_spec(), with_files(("a", b"\xff")))}
    assert found["ConfigMap"]["binaryData"] == {"a": "/w=="}
    with pytest.raises(SpecError, match="larger than the 1 MiB"):
        plan_base(make_spec(), with_files(("a", b"x" * 2**20)))
    with pytest.raises(SpecError, match=r"a/b and a\.b are one key of a ConfigMap"):
        plan_base(make_spec(), with_files(("a/b", b""), ("a.b", b"")))


def test_only_callers_and_prometheus_come_in_and_only_questions_to_the_dns_go_out(base):
    found = base("torchserve")["NetworkPolicy"]["spec"]
    assert found["ingress"] == [
        {
            "from": [{"podSelector": {}}],
            "ports": [{"protocol": "TCP", "port": "rest"}, {"protocol": "TCP", "port": "grpc"}],
        },
        {
            "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
            "ports": [{"protocol": "TCP", "port": "metrics"}],
        },
    ]
    assert {port["port"] for rule in found["egress"] for port in rule["ports"]} == {53}


def test_a_fixed_number_of_replicas_or_an_autoscaler(base):
    fixed = base("bentoml", deploy={"replicas": 3})
    assert fixed["Deployment"]["spec"]["replicas"] == 3
    assert "HorizontalPodAutoscaler" not in fixed
    scaled = base("bentoml", deploy={"autoscale": {"min": 2, "max": 5, "cpu_percent": 60}})
    assert "replicas" not in scaled["Deployment"]["spec"]
    found = scaled["HorizontalPodAutoscaler"]["spec"]
    assert (found["minReplicas"], found["maxReplicas"]) == (2, 5)
    assert found["scaleTargetRef"]["name"] == scaled["Deployment"]["metadata"]["name"]
    assert found["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 60}


def test_a_single_replica_does_not_hold_up_a_node(base):
    found = base("bentoml")["PodDisruptionBudget"]["spec"]
    assert found["maxUnavailable"] == 1
    assert "minAvailable" not in found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resources": {"memory": "128Mi", "cpu": "10m"}, "name": "x"}, None),
        ({"deploy": {"autoscale": {"min": 0, "max": 2}}}, r"deploy\.autoscale\.min: is 0.*kserve"),
        (
            {"deploy": {"autoscale": {"max": 2}}, "resources": {"cpu": None}},
            r"deploy\.autoscale\.cpu_percent: is a share of resources\.cpu.*Give resources\.cpu",
        ),
        (
            {"resources": {"memory": "30k"}},
            r"resources\.memory: 30k holds no server; bentoml alone takes more than 128Mi",
        ),
        ({"resources": {"cpu": "0"}}, r"resources\.cpu: 0 is next to nothing.*at least 10m"),
        ({"resources": {"cpu": "0.5m"}}, r"resources\.cpu: 0\.5m is next to nothing"),
        ({"resources": {"cpu": "1Gi"}}, r"resources\.cpu: 1Gi is a quantity of memory"),
        ({"environment": {"device": "cuda"}}, r"resources\.gpu: is 0 while"),
    ],
)
def test_what_could_not_work_is_refused(make_release, changes, message):
    release = make_release("bentoml", **changes)
    if message is None:
        assert Kubernetes().render(release)
        return
    with pytest.raises(SpecError, match=message):
        Kubernetes().render(release)


def test_one_host_leads_to_one_backend(make_release):
    with pytest.raises(SpecError, match=r"deploy\.ingress\.host: .* cannot lead to bentoml and tfserving at once"):
        Kubernetes().render(make_release("bentoml", "tfserving", deploy={"ingress": NGINX}))


def test_monitoring_without_metrics_is_refused(make_release, services):
    release = make_release("bentoml", deploy={"monitoring": True})
    with pytest.raises(SpecError, match=r"deploy\.monitoring: bentoml tells Prometheus nothing"):
        Kubernetes().render(replace(release, services=(replace(services["bentoml"], metrics=None),)))


def test_an_ingress_of_nginx_allows_what_the_spec_allows(base):
    found = base("bentoml", deploy={"ingress": NGINX}, serving={"max_request_mb": 64})["Ingress"]
    assert found["metadata"]["annotations"] == {
        "nginx.ingress.kubernetes.io/proxy-body-size": "64m",
        "nginx.ingress.kubernetes.io/proxy-read-timeout": "10",
    }
    assert found["spec"]["tls"] == [{"hosts": ["digits.example.com"], "secretName": "digits-tls"}]
    other = base("bentoml", deploy={"ingress": {"host": "a.example.com", "class_name": "traefik"}})["Ingress"]
    assert "annotations" not in other["metadata"]


def test_a_canary_by_weights(make_release, overlay):
    release = make_release(
        "bentoml", deploy={"replicas": 4, "ingress": GATEWAY, "strategy": {"canary": {"steps": [25]}}}
    )
    found = overlay(release, "canary")
    backends = found["HTTPRoute", "digits-bentoml"]["spec"]["rules"][0]["backendRefs"]
    assert {each["name"]: each["weight"] for each in backends} == {"digits-bentoml": 75, "digits-bentoml-canary": 25}
    assert found["Deployment", "digits-bentoml-canary"]["spec"]["replicas"] == 1
    labels = found["Deployment", "digits-bentoml-canary"]["spec"]["template"]["metadata"]["labels"]
    assert matches(found["Service", "digits-bentoml-canary"]["spec"]["selector"], labels)
    stable = overlay(release, "base")["Service", "digits-bentoml"]["spec"]["selector"]
    assert not matches(stable, labels)


def test_every_step_of_a_canary_has_an_overlay(make_release, overlay):
    steps = {"strategy": {"canary": {"steps": [10, 50, 100]}}}
    release = make_release("bentoml", deploy={"replicas": 4, "ingress": GATEWAY, **steps})
    shares = {}
    for name in ("canary", "canary-50"):
        found = overlay(release, name)
        backends = found["HTTPRoute", "digits-bentoml"]["spec"]["rules"][0]["backendRefs"]
        count = found["Deployment", "digits-bentoml-canary"]["spec"]["replicas"]
        shares[name] = (count, *(each["weight"] for each in backends))
    assert shares == {"canary": (1, 90, 10), "canary-50": (2, 50, 50)}
    assert not any(file.path.startswith("overlays/canary-100/") for file in Kubernetes().render(release))


def test_a_canary_by_annotations(make_release, overlay):
    found = overlay(make_release("bentoml", **FULL), "canary")
    notes = found["Ingress", "digits-bentoml-canary"]["metadata"]["annotations"]
    assert notes["nginx.ingress.kubernetes.io/canary"] == "true"
    assert notes["nginx.ingress.kubernetes.io/canary-weight"] == "20"
    path = found["Ingress", "digits-bentoml-canary"]["spec"]["rules"][0]["http"]["paths"][0]
    assert path["backend"]["service"]["name"] == "digits-bentoml-canary"
    assert ("Service", "digits-bentoml") not in found


@pytest.mark.parametrize(
    ("replicas", "steps", "canaries", "share"),
    [(9, [10], 1, "10 % given"), (1, [5], 1, "50 % given"), (4, [100], 4, "50 % given"), (0, [5], 1, "100 % given")],
)
def test_a_canary_by_numbers_says_its_true_share(make_release, overlay, replicas, steps, canaries, share):
    release = make_release("bentoml", deploy={"replicas": replicas, "strategy": {"canary": {"steps": steps}}})
    found = overlay(release, "canary")
    assert found["Deployment", "digits-bentoml-canary"]["spec"]["replicas"] == canaries
    service = found["Service", "digits-bentoml"]["spec"]["selector"]
    assert matches(service, found["Deployment", "digits-bentoml-canary"]["spec"]["template"]["metadata"]["labels"])
    files = {file.path: file.content.data.decode() for file in Kubernetes().render(release)}
    assert share in files["overlays/canary/kustomization.yaml"]
    said = any(share in warning for warning in Kubernetes().warnings(release))
    assert said is (f"{steps[0]} % given" != share)


def test_blue_and_green(make_release, overlay):
    release = make_release("torchserve", deploy={"replicas": 2})
    blue = overlay(release, "base")
    green = overlay(release, "blue-green")
    switched = overlay(release, "blue-green-switch")
    labels = green["Deployment", "digits-torchserve-green"]["spec"]["template"]["metadata"]["labels"]
    assert green["Deployment", "digits-torchserve-green"]["spec"]["replicas"] == 2
    assert not matches(blue["Service", "digits-torchserve"]["spec"]["selector"], labels)
    assert matches(green["Service", "digits-torchserve-green"]["spec"]["selector"], labels)
    assert ("Service", "digits-torchserve") not in green
    selector = switched["Service", "digits-torchserve"]["spec"]["selector"]
    assert matches(selector, labels)
    assert not matches(selector, blue["Deployment", "digits-torchserve"]["spec"]["template"]["metadata"]["labels"])


def test_tracks_never_own_each_others_pods(make_release, overlay):
    release = make_release("torchserve")
    deployments = [
        each
        for name in ("base", "canary", "blue-green")
        for (kind, _), each in overlay(release, name).items()
        if kind == "Deployment"
    ]
    assert len(deployments) == 3
    for owner in deployments:
        selector = owner["spec"]["selector"]["matchLabels"]
        owned = [each for each in deployments if matches(selector, each["spec"]["template"]["metadata"]["labels"])]
        assert owned == [owner]


@pytest.mark.parametrize("backend", BACKENDS)
def test_alerts_are_in_the_servers_own_metrics(base, backend):
    rules = base(backend, **FULL)["PrometheusRule"]["spec"]["groups"][0]["rules"]
    queries = {rule["alert"]: rule["expr"] for rule in rules}
    assert {"ModelportNotReady", "ModelportErrors"} <= queries.keys()
    assert ("ModelportSlow" in queries) is (backend != "torchserve")
    assert ("ModelportSaturated" in queries) is (backend != "tfserving")
    assert queries["ModelportErrors"].endswith("> 0.02")
    for query in queries.values():
        assert "$" not in query
        assert 'namespace="ml"' in query
    metric = {"bentoml": "bentoml_service_request_total", "torchserve": "Requests5XX"}
    assert metric.get(backend, ":tensorflow:serving:request_count") in queries["ModelportErrors"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_prometheus_reads_the_alerts(base, tool, tmp_path, backend):
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(base(backend, **FULL)["PrometheusRule"]["spec"]))
    done = run(tool("promtool"), "check", "rules", str(file))
    assert done.returncode == 0, done.stderr + done.stdout


def test_images_by_tag_and_missing_limits_are_said(make_release, services):
    release = make_release("bentoml", resources={"memory": None})
    tagged = replace(release, services=(replace(services["bentoml"], image="digits:1.2.0-bentoml"),))
    by_tag, no_limit = Kubernetes().warnings(tagged)
    assert "digits:1.2.0-bentoml is named by its tag alone" in by_tag
    assert "resources.memory is left out" in no_limit
    assert Kubernetes().warnings(make_release("bentoml")) == ()


def test_a_variable_with_a_dollar_is_no_reference(make_spec, services):
    plan = replace(services["bentoml"], environment={"A": "$(B)"})
    found = next(each for each in plan_base(make_spec(), plan) if each["kind"] == "Deployment")
    assert found["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "A", "value": "$$(B)"}]


# What checkov may find, each with the reason why it stays.
ALLOWED = {
    "CKV_K8S_21": "the namespace is the caller's choice, by deploy.namespace or kubectl -n",
}


@pytest.mark.slow
def test_checkov_finds_nothing_that_is_not_listed(make_release, tool, tmp_path):
    resolved = tmp_path / "resolved"
    resolved.mkdir()
    for number, changes in enumerate([{}, FULL]):
        folder = tmp_path / str(number)
        write(make_release(*BACKENDS[: 3 - 2 * number], **changes), folder)
        for name in ("dev", "prod", "canary", "blue-green"):
            objects = run(tool("kubectl"), "kustomize", str(folder / "overlays" / name)).stdout
            (resolved / f"{number}-{name}.yaml").write_text(objects)
    done = run(
        *(tool("checkov"), "--framework", "kubernetes", "--skip-download", "--quiet", "--compact", "-o", "json"),
        *("-d", str(resolved)),
    )
    report = json.loads(done.stdout)
    assert report["summary"]["passed"] > 100
    found = {check["check_id"] for check in report["results"]["failed_checks"]}
    assert found == set(ALLOWED)
