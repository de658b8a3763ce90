"""The pipeline as data: its gates, its commands, and its scripts as a shell runs them."""

import os
import re
import shlex
import subprocess
from dataclasses import replace

import click
import pytest
import yaml

from modelport.cli.group import group
from modelport.errors import SpecError
from modelport.target import Release
from modelport_manifests.actions import ACTIONS
from modelport_manifests.canary import ANALYSIS, canary_queries
from modelport_manifests.kubernetes import Kubernetes
from modelport_manifests.pipeline import Tool
from modelport_manifests.stages import plan_pipeline

SAMPLES = {"samples": "samples.npz"}
CANARY = {"deploy": {"strategy": {"canary": {"steps": [10, 50, 100]}}}}
BLUE_GREEN = {"deploy": {"strategy": {"blue_green": {"keep_s": 120}}}}
GATEWAY = {"deploy": {"ingress": {"host": "digits.example.com", "kind": "gateway", "gateway": "outer"}}}
VARIANTS = {
    "plain": {},
    "canary": CANARY,
    "blue_green": BLUE_GREEN,
    "gateway": {"deploy": {**GATEWAY["deploy"], **CANARY["deploy"]}},
    "weights": {
        "deploy": {"weights": "volume", "namespace": "models"},
        "image": {"platforms": ["linux/amd64", "linux/arm64"]},
    },
}


@pytest.fixture(scope="session", params=VARIANTS)
def pipeline(request, make_release):
    return plan_pipeline(make_release("torchserve", **SAMPLES, **VARIANTS[request.param]), engine="podman")


def before(pipeline, name):
    """Give the names of all stages that must have succeeded before one."""
    stage = next(each for each in pipeline.stages if each.name == name)
    return set(stage.needs).union(*(before(pipeline, each) for each in stage.needs))


def test_every_stage_needs_earlier_ones_and_takes_what_they_keep(pipeline):
    names = [stage.name for stage in pipeline.stages]
    for index, stage in enumerate(pipeline.stages):
        assert set(stage.needs) <= set(names[:index])
        kept = {kept for each in pipeline.stages if each.name in before(pipeline, stage.name) for kept in each.keeps}
        assert set(stage.takes) <= kept


def test_nothing_is_published_before_the_gates_and_nothing_in_production_before_staging(pipeline):
    assert {"validate", "build", "verify", "scan"} <= before(pipeline, "publish")
    assert "publish" in before(pipeline, "staging")
    assert "staging" in before(pipeline, "production")
    for stage in pipeline.stages:
        assert stage.release == (stage.publishes or bool(stage.environment))


def test_a_canary_stands_between_staging_and_production(make_release):
    pipeline = plan_pipeline(make_release("bentoml", **SAMPLES, **CANARY), engine="podman")
    assert before(pipeline, "production") >= {"staging", "canary"}
    canary = next(stage for stage in pipeline.stages if stage.name == "canary")
    assert [script.name for script in canary.scripts if script.after_failure] == ["Withdraw canary"]
    assert [script.name for script in canary.scripts[1:-1]] == [
        f"{what} ({share} %)"
        for share in (10, 50)
        for what in ("Deploy", "Compare its answers with the framework's", "Judge")
    ]
    overlays = [re.findall(r"--overlay (\S+)", script.text) for script in canary.scripts[1:]]
    assert [name for names in overlays for name in names] == ["canary", "canary-50"]


def test_blue_green_switches_and_can_go_back(make_release):
    pipeline = plan_pipeline(make_release("bentoml", **SAMPLES, **BLUE_GREEN), engine="podman")
    green = next(stage for stage in pipeline.stages if stage.name == "green")
    assert "--overlay blue-green " in green.scripts[1].text
    assert "--overlay blue-green-switch " in green.scripts[2].text
    assert green.scripts[4].text == "sleep 120"
    assert green.scripts[5].after_failure
    assert "manifests/base/service.yaml" in green.scripts[5].text
    assert green.minutes == 32


def test_every_command_has_the_options_that_it_is_given(pipeline):
    calls = [call for stage in pipeline.stages for script in stage.scripts for call in commands(script.text)]
    assert len(calls) > 5
    for name, *arguments in calls:
        command = group.get_command(click.Context(group), name)
        assert command is not None, f"there is no command {name!r}"
        command.make_context(name, arguments)  # refuses options that it has not


def commands(text):
    """Give the words of every call of modelport in a script, with something in place of variables."""
    joined = re.sub(
        r'"\$\(cat "[^"]*"\)"', "registry.example.com/digits:1@sha256:" + "0" * 64, text.replace("\\\n", "")
    )
    joined = re.sub(r"\$(\w+)", lambda found: "torchserve" if found[1] == "BACKEND" else found[1].lower(), joined)
    for line in joined.splitlines():
        if line.startswith("modelport "):
            yield shlex.split(line.partition(" > ")[0])[1:]


def test_scripts_are_clean_to_shellcheck(pipeline, tool):
    for stage in pipeline.stages:
        for script in stage.scripts:
            run = subprocess.run(
                [tool("shellcheck"), "--shell", "sh", "-"],
                input=script.text,
                capture_output=True,
                text=True,
                check=False,
            )
            assert run.returncode == 0, run.stdout


def test_secrets_are_read_by_single_scripts(pipeline):
    secret = {"KUBECONFIG", "REGISTRY_PASSWORD", "PROMETHEUS_TOKEN"}
    for stage in pipeline.stages:
        for script in stage.scripts:
            if secret & set(script.reads):
                assert stage.release
                assert Tool.ENGINE not in stage.tools  # what others wrote is run there


def test_the_requirement_has_the_extras_that_the_model_needs(make_release):
    release = make_release("torchserve", "bentoml", samples="rows.parquet")
    assert plan_pipeline(release, engine="podman").requirement.startswith(
        "modelport[bentoml,kubernetes,parquet,pytorch,torchserve]=="
    )
    other = make_release("bentoml", **SAMPLES, model={"framework": "tensorflow"})
    assert "tfserving" in plan_pipeline(other, engine="podman").requirement


def test_the_tag_is_the_one_that_the_manifests_name(make_release, services):
    release = make_release("bentoml", **SAMPLES)
    assert plan_pipeline(release, engine="podman").legs[0].tag == "1.2.0-bentoml"
    ported = replace(services["bentoml"], image="registry.example.com:5000/team/digits")
    again = Release(spec=release.spec, spec_path=release.spec_path, services=(ported,))
    assert plan_pipeline(again, engine="podman").legs[0].tag == "1.2.0-bentoml"


@pytest.mark.parametrize(
    ("platforms", "push", "archive"),
    [
        ([], "podman push", "docker-archive"),
        (["linux/arm64"], "podman push", "docker-archive"),
        (["linux/amd64", "linux/arm64"], "podman manifest push --all", "oci-archive"),
    ],
)
def test_an_image_travels_with_all_that_its_format_can_hold(make_release, platforms, push, archive):
    pipeline = plan_pipeline(make_release("torchserve", **SAMPLES, image={"platforms": platforms}), engine="podman")
    texts = {stage.name: "\n".join(script.text for script in stage.scripts) for stage in pipeline.stages}
    assert f'{push} "localhost/digits:$TAG" "{archive}:image-$BACKEND.tar"' in texts["image"]
    assert f'"{archive}:image-$BACKEND.tar" "docker://$REPOSITORY:$TAG"' in texts["publish"]
    assert pipeline.archive == archive
    assert pipeline.emulated == bool(platforms)


@pytest.mark.parametrize(
    ("repository", "registry"),
    [
        (None, None),
        ("registry.example.com/team/digits", "registry.example.com"),
        ("registry.example.com:5000/digits", "registry.example.com:5000"),
        ("team/digits", "docker.io"),
        ("digits", "docker.io"),
    ],
)
def test_the_registry_is_read_from_the_repository(make_release, repository, registry):
    release = make_release("bentoml", **SAMPLES, **({"image": {"repository": repository}} if repository else {}))
    assert plan_pipeline(release, engine="podman").registry == registry


@pytest.mark.parametrize("path", ["/etc/modelport.yaml", "../modelport.yaml"])
def test_a_spec_outside_the_repository_is_refused(make_release, path):
    release = replace(make_release("bentoml", **SAMPLES), spec_path=path)
    with pytest.raises(SpecError, match="top folder"):
        plan_pipeline(release, engine="podman")


@pytest.mark.parametrize("path", ["a'b/modelport.yaml", "${{ secrets.X }}.yaml", "$HOME/modelport.yaml", "a\nb.yaml"])
def test_a_path_that_means_something_to_a_shell_is_refused(make_release, path):
    release = replace(make_release("bentoml", **SAMPLES), spec_path=path)
    with pytest.raises(SpecError, match="rename"):
        plan_pipeline(release, engine="podman")


@pytest.mark.parametrize(
    ("backends", "changes", "message"),
    [
        (["bentoml"], {}, "samples"),
        (["bentoml", "torchserve"], {**SAMPLES, **GATEWAY}, "leads to one service"),
        (
            ["torchserve"],
            {**SAMPLES, "deploy": {"strategy": {"canary": {"steps": [10], "p95_ratio": 1.5}}}},
            "p95_ratio: torchserve tells no distribution",
        ),
        (["bentoml"], {**SAMPLES, "deploy": {"strategy": {"blue_green": {"keep_s": 80_000}}}}, "keep_s"),
    ],
)
def test_what_a_pipeline_cannot_do_is_refused(make_release, backends, changes, message):
    with pytest.raises(SpecError, match=message):
        plan_pipeline(make_release(*backends, **changes), engine="podman")


def test_a_canary_without_metrics_is_refused(make_release, services):
    release = make_release("bentoml", **SAMPLES, **CANARY)
    silent = Release(
        spec=release.spec, spec_path=release.spec_path, services=(replace(services["bentoml"], metrics=None),)
    )
    with pytest.raises(SpecError, match="tells Prometheus nothing"):
        plan_pipeline(silent, engine="podman")


def test_queries_tell_the_canary_from_the_stable_version(make_spec, services):
    spec = make_spec(**CANARY)
    queries = canary_queries(spec, services["bentoml"], spec.deploy.strategy.canary)
    assert "$" not in "".join(queries.values())
    canary, stable = (re.search(r'pod=~"([^"]+)"', part)[1] for part in queries["SLOWER"].split(" > "))
    assert re.fullmatch(canary, "digits-bentoml-canary-7d4b9c6f5-x2k8q")
    assert not re.fullmatch(canary, "digits-bentoml-7d4b9c6f5-x2k8q")
    assert re.fullmatch(stable, "digits-bentoml-7d4b9c6f5-x2k8q")
    assert not re.fullmatch(stable, "digits-bentoml-canary-7d4b9c6f5-x2k8q")


@pytest.mark.parametrize(
    ("answered", "latency", "code", "said"),
    [
        ({"TRAFFIC", "LATENCY"}, "LATENCY", 0, "SLOWER: 0 answers"),
        ({"LATENCY"}, "LATENCY", 1, "no request reached it"),
        ({"TRAFFIC", "LATENCY", "ERRORS"}, "LATENCY", 1, "error_rate"),
        ({"TRAFFIC"}, "LATENCY", 1, "latency is not known"),
        ({"TRAFFIC", "LATENCY", "SLOWER"}, "LATENCY", 1, "p95_ratio"),
        ({"TRAFFIC"}, "", 0, "by its errors alone"),
        ({"TRAFFIC", "ERRORS"}, "", 1, "error_rate"),
    ],
)
def test_the_analysis_judges(tmp_path, answered, latency, code, said):
    run = analyse(tmp_path, answered, PROMETHEUS_URL="http://127.0.0.1:9", LATENCY=latency)
    assert run.returncode == code, run.stdout + run.stderr
    assert said in run.stdout + run.stderr


def test_the_analysis_fails_where_prometheus_is_not_named_or_not_there(tmp_path):
    unnamed = analyse(tmp_path, {"TRAFFIC"}, PROMETHEUS_URL="", LATENCY="")
    assert unnamed.returncode != 0
    assert "PROMETHEUS_URL: is empty" in unnamed.stderr
    (tmp_path / "curl").write_text("#!/bin/sh\nexit 22\n")
    silent = analyse(tmp_path, None, PROMETHEUS_URL="http://127.0.0.1:9", LATENCY="")
    assert silent.returncode != 0


def analyse(folder, answered, **variables):
    """Run the analysis with a curl that answers some queries, and a sleep that does not."""
    if answered is not None:
        cases = "".join(f'*query={name}*) found="{{}}" ;; ' for name in sorted(answered))
        answer = '{"status":"success","data":{"resultType":"vector","result":[%s]}}'
        fake = f'#!/bin/sh\nfound=\ncase "$*" in {cases}*) ;; esac\nprintf \'{answer}\' "$found"\n'
        (folder / "curl").write_text(fake)
    (folder / "sleep").write_text("#!/bin/sh\n")
    for name in ("curl", "sleep"):
        (folder / name).chmod(0o755)
    names = {name: name for name in ("TRAFFIC", "ERRORS", "SLOWER")}
    return run_script(ANALYSIS, folder, {**names, **variables, "PROMETHEUS_TOKEN": ""})


def run_script(text, folder, environment):
    """Run a script as a CI system does; programs of the folder come before all others."""
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", text],
        env={**environment, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


KUBECTL = """#!/bin/sh
echo "kubectl $*" >> calls
case "$1" in get) cat there ;; esac
"""
MODELPORT = """#!/bin/sh
echo "modelport $1" >> calls
"""


@pytest.mark.parametrize(("there", "code"), [("", 1), ("deployment.apps/digits-torchserve\n", 0)])
def test_a_takeover_needs_an_old_version(tmp_path, make_release, there, code):
    run, calls = run_in_cluster(tmp_path, make_release, "Look for the old version", there)
    assert run.returncode == code
    assert calls == ["kubectl get deployment digits-torchserve --ignore-not-found --output name"]
    assert ("--overlay prod --image registry.example.com/digits@sha256:0" in run.stderr) == (code == 1)


def test_a_withdrawal_restores_the_traffic_first(tmp_path, make_release):
    run, calls = run_in_cluster(tmp_path, make_release, "Withdraw canary", "deployment.apps/digits-torchserve-canary\n")
    assert run.returncode == 0, run.stderr
    assert [" ".join(call.split()[:2]) for call in calls] == [
        "kubectl get",
        "modelport manifests",
        "kubectl apply",
        "kubectl delete",
    ]


def test_nothing_is_withdrawn_where_nothing_was_put(tmp_path, make_release):
    run, calls = run_in_cluster(tmp_path, make_release, "Withdraw canary", "")
    assert run.returncode == 0
    assert [call.split()[1] for call in calls] == ["get"]
    assert "nothing to withdraw" in run.stdout


def run_in_cluster(folder, make_release, name, there):
    """Run a script of the canary's stage with stand-ins for kubectl and modelport; give the calls that they got."""
    pipeline = plan_pipeline(make_release("torchserve", **SAMPLES, **CANARY), engine="podman")
    stage = next(each for each in pipeline.stages if each.name == "canary")
    script = next(each for each in stage.scripts if each.name == name)
    (folder / "there").write_text(there)
    (folder / "reference-torchserve.txt").write_text("registry.example.com/digits@sha256:0\n")
    for program, text in {"kubectl": KUBECTL, "modelport": MODELPORT}.items():
        (folder / program).write_text(text)
        (folder / program).chmod(0o755)
    environment = {"BACKEND": "torchserve", "SPEC": "modelport.yaml", **stage.values(pipeline.legs[0])}
    run = run_script(script.text, folder, environment)
    return run, (folder / "calls").read_text().splitlines()


def test_every_action_is_pinned_by_a_whole_commit():
    for action in ACTIONS:
        assert re.fullmatch(r"v\d+\.\d+\.\d+", action.version)
        assert re.fullmatch(r"[0-9a-f]{40}", action.commit)
        assert action.use == f"{action.name}@{action.commit}"


@pytest.mark.parametrize("variant", VARIANTS)
def test_overlays_and_files_are_those_of_the_kubernetes_target(make_release, variant):
    release = make_release("torchserve", **SAMPLES, **VARIANTS[variant])
    files = {file.path: file.content.data for file in Kubernetes().render(release)}
    stages = plan_pipeline(release, engine="podman").stages
    text = "\n".join(script.text for stage in stages for script in stage.scripts)
    overlays = set(re.findall(r"--overlay (\S+)", text))
    assert overlays >= {"dev", "prod"}
    assert {f"overlays/{overlay}/kustomization.yaml" for overlay in overlays} <= set(files)
    assert set(re.findall(r"manifests/(base/\S+)", text)) <= set(files)


@pytest.mark.parametrize(
    ("variant", "track", "overlay"), [("canary", "canary", "canary"), ("blue_green", "green", "blue-green")]
)
def test_what_is_ended_is_what_the_overlay_put_there(make_release, variant, track, overlay):
    release = make_release("torchserve", **SAMPLES, **VARIANTS[variant])
    files = {file.path: file.content.data for file in Kubernetes().render(release)}
    labels = yaml.safe_load(files[f"overlays/{overlay}/deployment.yaml"])["metadata"]["labels"]
    stage = next(each for each in plan_pipeline(release, engine="podman").stages if each.name == track)
    selector = re.search(r'--selector "([^"]+)"', stage.scripts[-1].text)[1].replace(
        "$NAME", stage.variables["NAME"]["torchserve"]
    )
    assert dict(pair.split("=") for pair in selector.split(",")).items() <= labels.items()
