"""The base's manifests, really run: `podman play kube` starts the Deployment with its configuration and limits."""

import subprocess

import pytest

from modelport.run.ports import choose_ports
from modelport_manifests.kubernetes import plan_base
from modelport_manifests.writer import render_yaml

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]

RUN_BY_PODMAN = {"ConfigMap", "Deployment"}


@pytest.fixture(scope="module")
def pod(engine, release, tmp_path_factory):
    """Run the base, published on a port of this machine; the rest of the objects is for a cluster."""
    port = choose_ports({"rest": 0}, "127.0.0.1")["rest"]
    objects = [each for each in plan_base(release.spec, release.services[0]) if each["kind"] in RUN_BY_PODMAN]
    deployment = next(each for each in objects if each["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["ports"][0]["hostPort"] = port
    file = tmp_path_factory.mktemp("kube") / "kube.yaml"
    file.write_text(render_yaml(objects))
    done = run(engine.program, "play", "kube", str(file))
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        yield f"http://127.0.0.1:{port}"
    finally:
        run(engine.program, "play", "kube", "--down", str(file))
        for config in objects:
            if config["kind"] == "ConfigMap":  # podman keeps it as a volume
                run(engine.program, "volume", "rm", config["metadata"]["name"])


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_the_pod_answers_and_can_do_no_more_than_it_must(pod, ask):
    assert ask(pod) == {
        "uid": 10001,
        "capabilities": "0000000000000000",
        "no_new_privileges": "1",
        "writes_to_root": False,
        "writes_to_tmp": True,
        "configuration": "answer: 42\n",
        "variable": "a $HOME $$(HOME)",  # podman takes the text as it is; the API would make "$(HOME)" of it
    }


def test_the_readiness_probes_of_a_cluster_hold_in_the_pod(engine, release, pod, ask):
    ask(pod)
    names = run(engine.program, "ps", "--format", "{{.Names}}").stdout.split()
    [server] = [name for name in names if name.startswith("stand-in-other-pod") and name.endswith("-server")]
    assert run(engine.program, "exec", server, *release.services[0].probe).returncode == 0
