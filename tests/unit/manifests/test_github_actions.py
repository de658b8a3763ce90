"""The workflow as GitHub reads it."""

import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from modelport.backend import backend_names
from modelport.spec.loading import load_spec
from modelport.target import Release, Target
from modelport_manifests.actions import ACTIONS
from modelport_manifests.github_actions import SUMMARIZE, GitHubActions

ROOT = Path(__file__).parents[3]
EXAMPLE = "examples/digits/modelport.yaml"
SAMPLES = {"samples": "samples.npz"}
FULL = {
    **SAMPLES,
    "image": {"repository": "registry.example.com/team/digits", "platforms": ["linux/amd64", "linux/arm64"]},
    "deploy": {
        "namespace": "models",
        "weights": "init_container",
        "strategy": {"canary": {"steps": [10, 50, 100]}},
    },
}


def render(release):
    (file,) = GitHubActions().render(release)
    return file.path, file.content.data.decode()


@pytest.fixture(scope="session")
def plain(make_release):
    return render(make_release("bentoml", **SAMPLES))


@pytest.fixture(scope="session")
def full(make_release):
    return render(make_release("bentoml", "torchserve", "tfserving", **FULL))


@pytest.fixture
def repository(tmp_path, plain, full):
    """Give a repository with both workflows."""
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    for name, (_, text) in {"plain": plain, "full": full}.items():
        (folder / f"{name}.yml").write_text(text)
    return tmp_path


def test_it_is_a_target():
    assert isinstance(GitHubActions(), Target)


def test_golden(golden, plain, full):
    golden("manifests/github-actions/plain.yml", plain[1])
    golden("manifests/github-actions/full.yml", full[1])
    assert plain[0] == ".github/workflows/modelport-digits.yml"


def test_actionlint_is_clean(repository, tool):
    # With shellcheck, where that is installed beside it.
    linter = tool("actionlint")
    path = f"{Path(linter).parent}{os.pathsep}{os.environ['PATH']}"
    files = sorted((repository / ".github" / "workflows").glob("*.yml")) + own_workflows()
    run = subprocess.run(
        [linter, *files], env={**os.environ, "PATH": path}, cwd=repository, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_zizmor_is_clean(repository, tool):
    run = subprocess.run(
        [tool("zizmor"), "--offline", "--no-config", "--persona", "pedantic", repository / ".github", *own_workflows()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_github_s_schema_takes_it(repository, tool):
    files = sorted((repository / ".github" / "workflows").glob("*.yml")) + own_workflows()
    run = subprocess.run(
        [tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout


def own_workflows():
    return sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_any_reader_of_yaml_finds_the_triggers(plain):
    assert set(yaml.safe_load(plain[1])["on"]) == {"push", "pull_request", "workflow_dispatch"}  # YAML 1.1 in PyYAML


def test_a_job_may_do_what_it_needs_and_no_more(plain, full):
    workflow = yaml.safe_load(plain[1])
    assert workflow["permissions"] == {}
    writes = {
        name: job["permissions"] for name, job in workflow["jobs"].items() if "write" in job["permissions"].values()
    }
    assert writes == {"publish": {"id-token": "write", "packages": "write"}}
    elsewhere = yaml.safe_load(full[1])["jobs"]["publish"]["permissions"]
    assert elsewhere == {"id-token": "write"}  # another registry knows nothing of GitHub's packages


def test_every_action_is_pinned_with_its_version(full):
    uses = re.findall(r"uses: (\S+)(.*)", full[1])
    known = {(action.use, f"  # {action.version}") for action in ACTIONS}
    assert set(uses) == known


def test_no_script_holds_an_expression(full):
    for job in yaml.safe_load(full[1])["jobs"].values():
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")


def test_secrets_are_given_to_single_steps(full):
    workflow = yaml.safe_load(full[1])
    assert "secrets." not in str(workflow["env"])
    for job in workflow["jobs"].values():
        assert "secrets." not in str({**job, "steps": []})


def test_checkouts_leave_no_credentials(full):
    steps = [step for job in yaml.safe_load(full[1])["jobs"].values() for step in job["steps"]]
    checkouts = [step for step in steps if "actions/checkout" in step.get("uses", "")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_every_job_ends_in_time_and_one_environment_has_one_deployment(full):
    jobs = yaml.safe_load(full[1])["jobs"]
    assert all(0 < job["timeout-minutes"] <= 360 for job in jobs.values())
    deployments = {name: job for name, job in jobs.items() if "environment" in job}
    assert {name: job["environment"] for name, job in deployments.items()} == {
        "staging": "staging",
        "canary": "production",
        "production": "production",
    }
    assert all(job["concurrency"]["cancel-in-progress"] is False for job in deployments.values())


def test_several_backends_are_a_matrix(full):
    jobs = yaml.safe_load(full[1])["jobs"]
    for name, job in jobs.items():
        if name != "validate":
            assert [row["backend"] for row in job["strategy"]["matrix"]["include"]] == [
                "bentoml",
                "torchserve",
                "tfserving",
            ]


@pytest.mark.parametrize("path", ["modelport.yaml", "models/a/modelport.yaml"])
def test_only_changes_of_the_model_start_it(make_release, path):
    workflow = yaml.safe_load(render(replace(make_release("bentoml", **SAMPLES), spec_path=path))[1])
    paths = workflow["on"]["push"].get("paths")
    assert paths == (None if path == "modelport.yaml" else ["models/a/**", ".github/workflows/modelport-digits.yml"])


def test_the_repository_s_own_workflow_is_current(services):
    spec = load_spec(ROOT / EXAMPLE)
    chosen = tuple(
        replace(services[name], image=f"{spec.name}:{spec.version}-{name}")
        for name in backend_names()
        if name in services
    )
    path, text = render(Release(spec=spec, spec_path=EXAMPLE, services=chosen))
    assert text == (ROOT / path).read_text(), f"run: modelport manifests {EXAMPLE} --target github-actions -o ."


REPORT = {
    "passed": False,
    "rows": [
        {
            "backend": "bentoml",
            "protocol": "rest",
            "samples": 360,
            "max_abs": 0.25,
            "max_rel": None,
            "accuracy": 0.98611,
            "skipped": "",
            "faults": [],
            "passed": True,
        },
        {
            "backend": "torchserve",
            "protocol": "grpc",
            "samples": 3,
            "max_abs": 2.0,
            "max_rel": None,
            "accuracy": None,
            "skipped": "",
            "faults": ["wrong | by 2.0"],
            "passed": False,
        },
    ],
}


@pytest.mark.parametrize(
    ("report", "lines"),
    [
        (
            json.dumps(REPORT),
            [
                "### Verify: FAILS",
                "| bentoml | rest | 360 | 0.25 | - | 98.61 % | agrees |",
                "- torchserve over grpc: wrong   by 2.0",
            ],
        ),
        ("", ["Verify: no report was written; the log of this job says why."]),
    ],
)
def test_the_summary_shows_the_report(tmp_path, tool, report, lines):
    tool("jq")
    (tmp_path / "verify.json").write_text(report)
    subprocess.run(
        ["bash", "-eo", "pipefail", "-c", SUMMARIZE],
        env={**os.environ, "FILE": "verify.json", "TITLE": "Verify", "GITHUB_STEP_SUMMARY": "summary.md"},
        cwd=tmp_path,
        check=True,
    )
    shown = (tmp_path / "summary.md").read_text().splitlines()
    assert set(lines) <= set(shown)
