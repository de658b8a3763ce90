"""The Compose file: what it says about each service, and that Compose itself takes it."""

import shlex
import subprocess
from dataclasses import replace

import pytest
import yaml

from modelport._version import VERSION
from modelport.errors import SpecError
from modelport.plan import Generated, PlannedFile
from modelport_manifests.compose import Compose

BACKENDS = ("bentoml", "torchserve", "tfserving")


def project(release):
    return yaml.safe_load(next(f for f in Compose().render(release) if f.path == "compose.yaml").content.data)


def service(release):
    found = project(release)["services"]
    assert len(found) == 1
    return next(iter(found.values()))


def write(files, folder):
    for file in files:
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.path).write_bytes(file.content.data)


def config(program, option, folder):
    command = [program, "config", option]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("backend", BACKENDS)
def test_golden(make_release, golden, backend):
    for file in Compose().render(make_release(backend)):
        golden(
            f"manifests/compose/{backend}/{file.path}",
            file.content.data.decode().replace(f"modelport {VERSION}", "modelport VERSION"),
        )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"deploy": {"weights": "init_container"}},
        {"deploy": {"weights": "volume"}},
        {"resources": {"gpu": 1}, "environment": {"device": "cuda"}},
        {"name": "Digits.v1"},
        {"resources": {"cpu": None, "memory": None}},
    ],
)
def test_compose_takes_all_backends_in_one_file(make_release, tool, tmp_path, changes):
    write(Compose().render(make_release(*BACKENDS, **changes)), tmp_path)
    done = config(tool("docker-compose"), "--quiet", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_service_can_do_no_more_than_it_must(make_release, backend):
    found = service(make_release(backend))
    assert found["user"] == "10001:10001"
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert [mount.partition(":")[0] for mount in found["tmpfs"]] == ["/tmp"]
    assert found["networks"] == ["serving"]
    assert all(port.startswith("127.0.0.1:") for port in found["ports"])


def test_management_is_not_published(make_release):
    assert service(make_release("torchserve"))["ports"] == [
        "127.0.0.1:8080:8080",
        "127.0.0.1:8082:8082",
        "127.0.0.1:7070:7070",
    ]


def test_two_services_never_want_one_port_of_the_host(make_release, services):
    release = make_release("bentoml")
    twin = replace(services["bentoml"], backend="other")
    found = project(replace(release, services=(*release.services, twin)))["services"]
    assert [each["ports"] for each in found.values()] == [["127.0.0.1:3000:3000"], ["127.0.0.1:3001:3000"]]


def test_health_is_the_probe_and_a_start_has_its_time(make_release, services):
    check = service(make_release("torchserve"))["healthcheck"]
    assert check["test"] == ["CMD-SHELL", "python /opt/modelport/probe.py"]
    plan = replace(services["torchserve"], probe=("python", "-c", "print('a b')"))
    quoted = service(replace(make_release("torchserve"), services=(plan,)))["healthcheck"]["test"][1]
    assert shlex.split(quoted) == list(plan.probe)
    assert check["start_period"] == "181s"


def test_a_stop_has_time_for_the_longest_request_and_the_server(make_release):
    assert service(make_release("torchserve", serving={"timeout_s": 40}))["stop_grace_period"] == "60s"


def test_limits_are_in_the_words_of_compose(make_release):
    limits = service(make_release("bentoml", resources={"cpu": "1500m", "memory": "1.5Gi"}))["deploy"]["resources"]
    assert limits == {"limits": {"cpus": "1.5", "memory": "1536M"}}
    bytes_ = service(make_release("bentoml", resources={"memory": "1G"}))["deploy"]["resources"]["limits"]["memory"]
    assert bytes_ == "1000000000b"


def test_configuration_stands_where_the_server_reads_it(make_release):
    files = {file.path: file.content.data for file in Compose().render(make_release("tfserving"))}
    assert files["config/tfserving/batching/batching.config"] == b"max_batch_size { value: 32 }\n"
    found = project(make_release("tfserving"))
    targets = {
        found["configs"][each["source"]]["file"]: each["target"]
        for each in next(iter(found["services"].values()))["configs"]
    }
    assert targets == {
        "./config/tfserving/models.config": "/etc/modelport/models.config",
        "./config/tfserving/batching/batching.config": "/etc/modelport/batching/batching.config",
    }


def test_the_model_comes_from_its_own_image_before_the_server_starts(make_release):
    found = project(make_release("tfserving", deploy={"weights": "init_container"}))
    fetch, server = found["services"]["digits-tfserving-weights"], found["services"]["digits-tfserving"]
    assert fetch["image"] == "registry.example.com/digits:1.2.0-tfserving-weights"
    assert server["depends_on"] == {"digits-tfserving-weights": {"condition": "service_completed_successfully"}}
    assert server["volumes"][0]["target"] == fetch["volumes"][0]["target"] == "/models/digits"


def test_memory_that_does_not_hold_the_model_is_refused(make_release):
    with pytest.raises(
        SpecError, match=r"resources\.memory: 200Mi is not enough: .* 286 MiB on tfserving.*Give at least"
    ):
        Compose().render(make_release("tfserving", resources={"memory": "200Mi"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"environment": {"device": "cuda"}}, "resources.gpu: is 0 while environment.device is cuda"),
        ({"resources": {"gpu": 1}}, "resources.gpu: is 1 while environment.device is cpu"),
    ],
)
def test_gpus_and_device_must_fit(make_release, changes, message):
    with pytest.raises(SpecError, match=message):
        Compose().render(make_release("bentoml", **changes))


def test_a_service_without_a_probe_is_refused(make_release, services):
    release = replace(make_release("bentoml"), services=(replace(services["bentoml"], probe=()),))
    with pytest.raises(SpecError, match="bentoml: describes no probe"):
        Compose().render(release)


def test_keys_for_clusters_are_named(make_release):
    assert Compose().warnings(make_release("bentoml")) == ()
    release = make_release("bentoml", deploy={"replicas": 3, "monitoring": True})
    warning = (
        "deploy.replicas, deploy.monitoring: for clusters; Compose runs one replica of each service on this machine"
    )
    assert Compose().warnings(release) == (warning,)
    assert f"# {warning}\n".encode() in Compose().render(release)[0].content.data


def test_variables_that_are_removed_are_not_set(make_release):
    assert service(make_release("bentoml"))["environment"] == {"BENTOML_HOME": "/tmp/bentoml"}


def test_a_dollar_is_no_variable_of_compose(make_release, services, tool, tmp_path):
    plan = replace(services["bentoml"], probe=("sh", "-c", "echo $HOME"), environment={"A": "$B"})
    release = replace(make_release("bentoml"), services=(plan,))
    write(Compose().render(release), tmp_path)
    done = config(tool("docker-compose"), "--no-interpolate", tmp_path)
    assert "'echo $$HOME'" in done.stdout
    assert "$$B" in done.stdout


def test_files_of_a_build_cannot_be_configuration(make_release, services):
    from modelport.plan import Converted

    plan = replace(services["bentoml"], files=(PlannedFile(path="a", content=Converted(how="a tool")),))
    with pytest.raises(SpecError, match="a: is made by a tool"):
        Compose().render(replace(make_release("bentoml"), services=(plan,)))


def test_binary_configuration_is_kept(make_release, services):
    content = Generated(data=b"\xff\x00", origin="the spec")
    plan = replace(
        services["bentoml"], files=(PlannedFile(path="a", content=content),), config_folder="/etc/modelport/"
    )
    files = Compose().render(replace(make_release("bentoml"), services=(plan,)))
    assert {file.path: file.content.data for file in files}["config/bentoml/a"] == b"\xff\x00"
