"""The same pipeline as GitLab reads it."""

import subprocess

import pytest
import yaml

from modelport.target import Target
from modelport_manifests.gitlab_ci import GitLabCI
from modelport_manifests.stages import plan_pipeline

SAMPLES = {"samples": "samples.npz"}
FULL = {
    **SAMPLES,
    "image": {"repository": "registry.example.com/team/digits"},
    "deploy": {"namespace": "models", "strategy": {"canary": {"steps": [10, 50, 100]}}},
}


def render(release):
    (file,) = GitLabCI().render(release)
    return file.path, file.content.data.decode()


@pytest.fixture(scope="session")
def plain(make_release):
    return render(make_release("bentoml", **SAMPLES))


@pytest.fixture(scope="session")
def full(make_release):
    return render(make_release("bentoml", "torchserve", "tfserving", **FULL))


def jobs_of(text):
    data = yaml.safe_load(text)
    return {name: job for name, job in data.items() if ":" in name}


def test_it_is_a_target():
    assert isinstance(GitLabCI(), Target)


def test_golden(golden, plain, full):
    golden("manifests/gitlab-ci/plain.yml", plain[1])
    golden("manifests/gitlab-ci/full.yml", full[1])
    assert plain[0] == ".gitlab/modelport-digits.yml"


def test_gitlab_s_schema_takes_it(tmp_path, tool, plain, full):
    for name, (_, text) in {"plain": plain, "full": full}.items():
        (tmp_path / f"{name}.yml").write_text(text)
    run = subprocess.run(
        [tool("check-jsonschema"), "--builtin-schema", "vendor.gitlab-ci", *sorted(tmp_path.glob("*.yml"))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout


def test_it_has_the_stages_of_the_pipeline_and_runs_their_scripts(make_release, full):
    pipeline = plan_pipeline(make_release("bentoml", "torchserve", "tfserving", **FULL), engine="buildah")
    data = yaml.safe_load(full[1])
    assert data["stages"] == [stage.name for stage in pipeline.stages]
    jobs = jobs_of(full[1])
    for stage in pipeline.stages:
        job = jobs[f"modelport-digits:{stage.name}"]
        assert job["stage"] == stage.name
        run = [*job["script"], *job.get("after_script", ())]
        assert [script.text for script in stage.scripts if script.text not in run] == []


def test_jobs_need_jobs_that_are_there_and_take_artifacts_of_their_makers(full):
    jobs = jobs_of(full[1])
    for job in jobs.values():
        for need in job["needs"]:
            assert need["job"] in jobs
            assert not need["artifacts"] or "artifacts" in jobs[need["job"]]


def test_what_differs_between_backends_is_set_in_the_shell(full):
    script = jobs_of(full[1])["modelport-digits:canary"]["before_script"][-1]
    shown = subprocess.run(
        ["bash", "-euc", f'BACKEND=torchserve\n{script}\nprintf "%s\\n" "$URL_VARIABLE" "$NAME" "$LATENCY" "$TRAFFIC"'],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert shown[:3] == ["MODELPORT_URL_TORCHSERVE", "digits-torchserve", ""]
    assert 'pod=~"digits-torchserve-canary-' in shown[3]


def test_only_the_default_branch_publishes_and_deploys(full):
    jobs = jobs_of(full[1])
    for name in ("publish", "staging", "canary", "production"):
        (rule,) = jobs[f"modelport-digits:{name}"]["rules"]
        assert rule["if"].startswith("$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH")
        assert ("MODELPORT_DEPLOY" in rule["if"]) == (name != "publish")


def test_an_identity_is_had_by_the_job_that_signs_alone(full):
    holders = [name for name, job in jobs_of(full[1]).items() if "id_tokens" in job]
    assert holders == ["modelport-digits:publish"]


def test_the_project_s_own_registry_is_used_where_the_spec_names_none(plain, full):
    data = yaml.safe_load(plain[1])
    assert data[".modelport-digits"]["variables"]["REPOSITORY"] == "$CI_REGISTRY_IMAGE/digits"
    assert data["modelport-digits:publish"]["variables"]["REGISTRY_PASSWORD"] == "$CI_REGISTRY_PASSWORD"
    elsewhere = yaml.safe_load(full[1])
    assert elsewhere[".modelport-digits"]["variables"]["REPOSITORY"] == "registry.example.com/team/digits"
    assert "variables" not in elsewhere["modelport-digits:publish"]  # the user sets them, masked


def test_a_canary_that_failed_is_withdrawn(full):
    after = jobs_of(full[1])["modelport-digits:canary"]["after_script"]
    assert after[0] == '[ "$CI_JOB_STATUS" != success ] || exit 0'
    assert "track=canary" in after[-1]
