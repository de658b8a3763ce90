"""The same pipeline for GitLab CI: a file to be included in ``.gitlab-ci.yml``."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from modelport.plan import PlannedFile
from modelport.target import Release
from modelport_manifests.pipeline import INSTALL, Pipeline, Stage, Tool
from modelport_manifests.stages import plan_pipeline
from modelport_manifests.writer import yaml_file

Data = dict[str, Any]

PYTHON = "python:3.11-bookworm"
# The usual images of these two have no shell, in which GitLab would run a job.
SYFT = "docker.io/anchore/syft:debug"
GRYPE = "docker.io/anchore/grype:debug"
ALPINE = "alpine:3.20"

INSTALL_ENGINE = """\
apt-get update -qq
apt-get install -qq --yes --no-install-recommends buildah
"""
INSTALL_KUBECTL = """\
apt-get update -qq
apt-get install -qq --yes --no-install-recommends kubernetes-client
"""
# What buildah can do within a container that has no rights of its own.
UNPRIVILEGED = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}


class GitLabCI:
    """Writes ``.gitlab/modelport-<name>.yml``."""

    name = "gitlab-ci"

    def render(self, release: Release) -> tuple[PlannedFile, ...]:
        """Give the file; see `modelport.target.Target.render`."""
        pipeline = plan_pipeline(release, engine="buildah")
        path = f".gitlab/{pipeline.name}.yml"
        return (yaml_file(path, [_jobs(pipeline, path)], release, self.name, _notes(pipeline, path)),)


def _notes(pipeline: Pipeline, path: str) -> Iterator[str]:
    yield f"Include it from .gitlab-ci.yml: `include: [{{local: {path}}}]`."
    yield f"What is installed is {pipeline.requirements}, if that file is there; else {pipeline.requirement}."
    yield "Variable PIP_INDEX_URL, masked: a private package index, with its password; the public one if not set."
    if pipeline.registry is not None:
        yield f"Variables REGISTRY_USER and REGISTRY_PASSWORD, masked: who pushes to {pipeline.registry}."
    yield "Variable MODELPORT_DEPLOY: true lets the stages from staging on run; they are left out without it."
    names = ", ".join(leg.url_variable for leg in pipeline.legs)
    yield f"For the environments staging and production: KUBECONFIG, of type file; the service's URL: {names}."
    if any(stage.variables for stage in pipeline.stages):
        yield "For the environment production, for the canary: PROMETHEUS_URL, and PROMETHEUS_TOKEN, masked."


def _jobs(pipeline: Pipeline, path: str) -> Data:
    variables = {
        **pipeline.variables,
        "REPOSITORY": pipeline.repository or f"$CI_REGISTRY_IMAGE/{pipeline.image}",
        "PIP_CACHE_DIR": "$CI_PROJECT_DIR/.cache/pip",
    }
    data: Data = {
        "stages": [stage.name for stage in pipeline.stages],
        f".{pipeline.name}": {"image": PYTHON, "variables": variables},
    }
    return data | {_job_name(pipeline, stage): _job(pipeline, stage, path) for stage in pipeline.stages}


def _job_name(pipeline: Pipeline, stage: Stage) -> str:
    return f"{pipeline.name}:{stage.name}"


def _job(pipeline: Pipeline, stage: Stage, path: str) -> Data:
    job: Data = {
        "extends": f".{pipeline.name}",
        "stage": stage.name,
        "rules": _rules(pipeline, stage, path),
        "needs": _needs(pipeline, stage),
        "timeout": f"{stage.minutes} minutes",
        "interruptible": not stage.release,
    }
    if stage.per_backend:
        job["parallel"] = {"matrix": [{"BACKEND": [leg.backend for leg in pipeline.legs]}]}
    job |= _surroundings(pipeline, stage)
    job["before_script"] = list(_preparation(pipeline, stage))
    job["script"] = list(_script(pipeline, stage))
    failed = [script.text for script in stage.scripts if script.after_failure]
    if failed:  # in a shell of its own, which knows nothing of the other
        job["after_script"] = ['[ "$CI_JOB_STATUS" != success ] || exit 0', _by_backend(pipeline, stage), *failed]
    if stage.keeps:
        job["artifacts"] = _artifacts(stage)
    return job


def _rules(pipeline: Pipeline, stage: Stage, path: str) -> list[Data]:
    changes = {"changes": [f"{pipeline.folder}/**/*", path]} if pipeline.folder else {}
    default = "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"
    if stage.release:
        switch = ' && $MODELPORT_DEPLOY == "true"' if stage.environment else ""
        return [{"if": default + switch, **changes}]
    return [{"if": '$CI_PIPELINE_SOURCE == "merge_request_event"', **changes}, {"if": default, **changes}]


def _needs(pipeline: Pipeline, stage: Stage) -> list[Data]:
    """Name the jobs before this one: those that must have succeeded, and those whose files it takes."""
    makers = [each for each in pipeline.stages if set(each.keeps) & set(stage.takes)]
    waited = [each for each in pipeline.stages if each.name in stage.needs and each not in makers]
    return [{"job": _job_name(pipeline, each), "artifacts": False} for each in waited] + [
        {"job": _job_name(pipeline, each), "artifacts": True} for each in makers
    ]


def _surroundings(pipeline: Pipeline, stage: Stage) -> Data:
    """Give what a job runs in: its image, its cache, its environment, its identity."""
    found: Data = {}
    if Tool.MODELPORT in stage.tools:
        files = [pipeline.spec, pipeline.requirements]
        found["cache"] = {"key": {"files": files}, "paths": [".cache/pip"]}
    if Tool.ENGINE in stage.tools:
        found["variables"] = UNPRIVILEGED
    if Tool.SYFT in stage.tools:
        found["image"] = {"name": SYFT, "entrypoint": [""]}
    if Tool.GRYPE in stage.tools:
        found["image"] = {"name": GRYPE, "entrypoint": [""]}
    if Tool.COSIGN in stage.tools:
        found["image"] = ALPINE
        found["id_tokens"] = {"SIGSTORE_ID_TOKEN": {"aud": "sigstore"}}
        if pipeline.registry is None:
            found["variables"] = {"REGISTRY_USER": "$CI_REGISTRY_USER", "REGISTRY_PASSWORD": "$CI_REGISTRY_PASSWORD"}
    if stage.environment:
        found["environment"] = {"name": stage.environment, "deployment_tier": stage.environment}
        found["resource_group"] = f"{pipeline.name}-{stage.environment}-$BACKEND"
    return found


def _preparation(pipeline: Pipeline, stage: Stage) -> Iterator[str]:
    if Tool.MODELPORT in stage.tools:
        yield INSTALL
    if Tool.ENGINE in stage.tools:
        yield INSTALL_ENGINE
    if Tool.COSIGN in stage.tools:
        yield "apk add --no-cache cosign skopeo"
    if Tool.KUBECTL in stage.tools:
        yield INSTALL_KUBECTL
    if stage.per_backend and stage.values(pipeline.legs[0]):
        yield _by_backend(pipeline, stage)


def _by_backend(pipeline: Pipeline, stage: Stage) -> str:
    """Set what differs between backends; as values of the matrix they would make job names of thousand letters."""
    lines = ['case "$BACKEND" in']
    for leg in pipeline.legs:
        lines.append(f"  {shlex.quote(leg.backend)})")
        lines += [f"    {name}={shlex.quote(value)}" for name, value in stage.values(leg).items()]
        lines.append("    ;;")
    return "\n".join([*lines, "esac"])


def _script(pipeline: Pipeline, stage: Stage) -> Iterator[str]:
    if Tool.SYFT in stage.tools:
        image, bill = f"{pipeline.archive}:{stage.takes[0].file()}", stage.keeps[0].file()
        yield f'/syft scan "{image}" --output "cyclonedx-json={bill}"'
    if Tool.GRYPE in stage.tools:
        yield f'/grype "sbom:{stage.takes[0].file()}" --fail-on high --only-fixed'
    for script in stage.scripts:
        if not script.after_failure:
            yield script.text


def _artifacts(stage: Stage) -> Data:
    longest = max(kept.days for kept in stage.keeps)
    artifacts: Data = {
        "paths": [kept.file() for kept in stage.keeps],
        "expire_in": "1 day" if longest == 1 else f"{longest} days",
        "when": "always" if any(kept.always for kept in stage.keeps) else "on_success",
    }
    if Tool.SYFT in stage.tools:
        artifacts["reports"] = {"cyclonedx": stage.keeps[0].file()}
    return artifacts
