"""Helm charts, rendered by Helm itself: the objects of plain Kubernetes, and what values change in them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from modelport._version import VERSION
from modelport.errors import SpecError
from modelport_manifests.check import check_folder
from modelport_manifests.helm import Helm
from modelport_manifests.helm.values import split_image
from modelport_manifests.kubernetes import plan_base

BACKENDS = ("bentoml", "torchserve", "tfserving")
TOOLS = Path(__file__).parents[3] / ".tools" / "bin"
NGINX = {"host": "digits.example.com", "class_name": "nginx", "tls_secret": "digits-tls"}
GATEWAY = {"host": "digits.example.com", "kind": "gateway", "gateway": "public"}
FULL = {
    "deploy": {
        "namespace": "ml",
        "autoscale": {"min": 3, "max": 9},
        "monitoring": True,
        "pull_secret": "registry",
        "ingress": NGINX,
    }
}
EVERY = {
    "nothing": {},
    "everything": FULL,
    "gateway and init container": {"deploy": {"replicas": 4, "weights": "init_container", "ingress": GATEWAY}},
    "image volume, no resources": {"deploy": {"weights": "volume"}, "resources": {"cpu": None, "memory": None}},
    "gpu": {"resources": {"gpu": 2}, "environment": {"device": "cuda"}},
}
HELM = """
import json, sys
import helm_python as helm
for line in sys.stdin:
    asked = json.loads(line)
    options = {"namespace": asked["namespace"]}
    try:
        if asked["lint"]:
            found = helm.lint(asked["chart"], strict=True, **options)["messages"]
        else:
            with helm.Chart.load(asked["chart"]) as chart:
                chart.validate_schema(asked["values"])
                found = chart.render(asked["values"], name="release", **options)
    except helm.HelmError as error:
        found = str(error)
    print(json.dumps(found), flush=True)
"""


@pytest.fixture(scope="session")
def helm():
    """Ask Helm's own library (the package helm-python-sdk), which takes a while to load, in one process for all."""
    for python in (TOOLS / "python", shutil.which("python"), sys.executable):
        found = python and subprocess.run([python, "-c", "import helm_python"], capture_output=True, check=False)
        if found and found.returncode == 0:
            break
    else:
        pytest.skip("helm-python-sdk is not installed here; `make tools` installs it")
    command = [str(python), "-c", HELM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def ask(chart, *, lint=False, namespace="ml", values=None):
            asked = {"chart": str(chart), "lint": lint, "namespace": namespace, "values": values or {}}
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()


@pytest.fixture
def write(tmp_path, make_release):
    """Write the chart of one backend; give its folder."""

    def make(backend, **changes):
        for file in Helm().render(make_release(backend, **changes)):
            path = tmp_path / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content.data)
        return next(tmp_path.iterdir())

    return make


@pytest.fixture
def render(helm):
    """Render a chart; give the text of every template by its file's name, or what Helm said against it."""

    def run(chart, namespace="ml", **values):
        found = helm(chart, namespace=namespace, values=values)
        return found if isinstance(found, str) else {Path(name).name: text for name, text in found.items()}

    return run


def objects(rendered):
    assert isinstance(rendered, dict), rendered
    texts = (text for name, text in rendered.items() if name.endswith(".yaml"))
    return {each["kind"]: each for text in texts for each in yaml.safe_load_all(text) if each}


@pytest.mark.parametrize("backend", BACKENDS)
def test_golden(make_release, golden, backend):
    for file in Helm().render(make_release(backend, **FULL)):
        text = file.content.data.decode().replace(f"modelport {VERSION}", "modelport VERSION")
        golden(f"manifests/helm/{file.path}", text)


@pytest.mark.parametrize("changes", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize("backend", BACKENDS)
def test_default_values_give_what_plain_kubernetes_gets(write, render, make_spec, services, backend, changes):
    wanted = {each["kind"]: each for each in plan_base(make_spec(**changes), services[backend])}
    assert objects(render(write(backend, **changes))) == wanted


@pytest.mark.parametrize("changes", EVERY.values(), ids=EVERY)
def test_helms_own_lint(helm, write, changes):
    messages = [found["error"] for found in helm(write("torchserve", **changes), lint=True) if found["severity"] > 1]
    assert messages == []


def test_rendered_chart_has_no_finding(write, render, tmp_path):
    rendered = render(write("torchserve", **FULL))
    folder = tmp_path / "rendered"
    folder.mkdir()
    for name, text in rendered.items():
        folder.joinpath(name).write_text(text, encoding="utf-8")
    assert check_folder(folder) == ()


def test_values_reach_the_pod(write, render):
    chart = write("bentoml")
    found = objects(
        render(
            chart,
            image={"repository": "other/digits", "tag": "2", "digest": "", "pullPolicy": "Always"},
            pullSecrets=["one", "two"],
            replicas=7,
            resources={"requests": {"cpu": 2}, "limits": {"memory": "3Gi"}},
            env={"LEVEL": "debug", "NUMBER": "07"},
            labels={"team": "vision"},
            podAnnotations={"note": "a: b"},
        )
    )
    deployment = found["Deployment"]
    pod = deployment["spec"]["template"]
    container = pod["spec"]["containers"][0]
    assert deployment["spec"]["replicas"] == 7
    assert (container["image"], container["imagePullPolicy"]) == ("other/digits:2", "Always")
    assert pod["spec"]["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}]
    assert container["resources"] == {"requests": {"cpu": 2}, "limits": {"cpu": "500m", "memory": "3Gi"}} | {
        "requests": {"cpu": 2, "memory": "2Gi"}
    }
    assert container["env"][-2:] == [{"name": "LEVEL", "value": "debug"}, {"name": "NUMBER", "value": "07"}]
    assert {each["metadata"]["labels"]["team"] for each in found.values()} == {"vision"}
    assert pod["metadata"]["labels"]["team"] == "vision"
    assert "team" not in deployment["spec"]["selector"]["matchLabels"]
    assert pod["metadata"]["annotations"]["note"] == "a: b"


def test_variables_where_the_server_has_none(write, render):
    found = objects(render(write("tfserving"), env={"TF_CPP_MIN_LOG_LEVEL": "1"}))
    container = found["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    assert container["env"] == [{"name": "TF_CPP_MIN_LOG_LEVEL", "value": "1"}]


def test_switching_on_what_the_spec_leaves_out(write, render):
    chart = write("bentoml")
    plain = objects(render(chart))
    assert not {"HorizontalPodAutoscaler", "Ingress", "ServiceMonitor", "PrometheusRule"} & plain.keys()
    found = objects(
        render(
            chart,
            autoscale={"enabled": True, "min": 2, "max": 6, "cpuPercent": 55},
            ingress={"enabled": True, "host": "a.example.com", "className": "traefik", "annotations": {"x": "y"}},
            monitoring={"enabled": True},
        )
    )
    scaler = found["HorizontalPodAutoscaler"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 6)
    assert scaler["metrics"][0]["resource"]["target"]["averageUtilization"] == 55
    assert "replicas" not in found["Deployment"]["spec"]
    ingress = found["Ingress"]
    assert ingress["metadata"]["annotations"] == {"x": "y"}
    assert ingress["spec"]["ingressClassName"] == "traefik"
    assert ingress["spec"]["rules"][0]["host"] == "a.example.com"
    assert "tls" not in ingress["spec"]
    assert found["NetworkPolicy"]["spec"]["ingress"][0]["from"] == [{"namespaceSelector": {}}]
    assert plain["NetworkPolicy"]["spec"]["ingress"][0]["from"] == [{"podSelector": {}}]
    assert "{{ $value" in found["PrometheusRule"]["spec"]["groups"][0]["rules"][0]["annotations"]["description"]


def test_namespace_is_the_releases(write, render):
    found = objects(render(write("torchserve", **FULL), namespace="elsewhere"))
    assert {each["metadata"]["namespace"] for each in found.values()} == {"elsewhere"}
    assert 'namespace="ml"' not in json.dumps(found)


def test_weights_have_the_tag_of_the_image(write, render):
    found = objects(render(write("bentoml", deploy={"weights": "init_container"}), image={"tag": "9"}))
    (fetch,) = found["Deployment"]["spec"]["template"]["spec"]["initContainers"]
    assert fetch["image"] == "registry.example.com/digits:9-weights"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replica": 3}, "replica"),
        ({"replicas": "3"}, "replicas"),
        ({"image": {"digest": "sha256:12"}}, "digest"),
        ({"autoscale": {"enabled": True, "min": 5, "max": 2}}, "autoscale.max"),
        ({"autoscale": {"enabled": True}, "resources": {"requests": {"cpu": None}, "limits": {"cpu": None}}}, "cpu"),
        ({"ingress": {"enabled": True}}, "ingress.host must be given"),
    ],
)
def test_wrong_values_are_refused(write, render, values, said):
    assert said in render(write("bentoml"), **values)


def test_notes_say_where_it_answers(write, render):
    notes = render(write("tfserving", **FULL))["NOTES.txt"]
    assert "digits-tfserving.ml.svc, port 8501" in notes
    assert "digits.example.com" in notes


@pytest.mark.parametrize(
    ("version", "chart"), [("1.2.0", "1.2.0"), ("1.2.0-rc.1+5", "1.2.0-rc.1+5"), ("7", "0.0.0-v7902699b")]
)
def test_charts_version_is_semantic(write, version, chart):
    found = yaml.safe_load(write("bentoml", version=version).joinpath("Chart.yaml").read_text(encoding="utf-8"))
    assert (found["version"], found["appVersion"]) == (chart, version)


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("digits", ("digits", "", "")),
        ("localhost:5000/digits", ("localhost:5000/digits", "", "")),
        ("localhost:5000/a/digits:1@sha256:ab", ("localhost:5000/a/digits", "1", "sha256:ab")),
    ],
)
def test_image_in_parts(reference, parts):
    assert split_image(reference) == parts


def test_braces_in_the_spec_are_no_template(write, render):
    chart = write("bentoml", description="{{ .Values.secret }} and }}")
    found = yaml.safe_load(chart.joinpath("Chart.yaml").read_text(encoding="utf-8"))
    assert found["description"] == "{{ .Values.secret }} and }}"
    assert "Deployment" in objects(render(chart))


def test_a_chart_for_each_backend(make_release):
    files = Helm().render(make_release("bentoml", "tfserving"))
    assert {file.path.partition("/")[0] for file in files} == {"digits-bentoml", "digits-tfserving"}


def test_warns_of_a_strategy(make_release):
    release = make_release("bentoml", deploy={"strategy": {"canary": {"steps": [10]}}})
    assert any("rolling update alone" in warning for warning in Helm().warnings(release))


def test_refuses_what_could_not_work(make_release):
    with pytest.raises(SpecError, match=r"resources\.memory"):
        Helm().render(make_release("tfserving", resources={"memory": "100Mi"}))
