"""A workflow for GitHub Actions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelport.plan import Generated, PlannedFile
from modelport.target import Release
from modelport_manifests import actions
from modelport_manifests.actions import Action, note_versions
from modelport_manifests.pipeline import INSTALL, Kept, Pipeline, Script, Stage, Tool
from modelport_manifests.stages import plan_pipeline
from modelport_manifests.writer import header_lines, render_yaml

Data = dict[str, Any]

RUNNER = "ubuntu-24.04"  # has podman, skopeo, kubectl and jq
BRANCH = "main"
OWN_REGISTRY = "ghcr.io"
BACKEND = "${{ matrix.backend }}"
FAILED = "${{ failure() || cancelled() }}"
ANYWAY = "${{ !cancelled() }}"
KUBECONFIG = "${{ runner.temp }}/kubeconfig"
PERMISSIONS = {"id-token: write": "who cosign signs as", "packages: write": "to push the image"}

LEAD_TO_CLUSTER = """\
: "${CONTENT:?is empty: set the secret KUBECONFIG of this environment}"
umask 077
printf '%s\\n' "$CONTENT" > "$KUBECONFIG"
"""

# Podman's store belongs to several users of a namespace: only there it can be packed and unpacked.
LAYERS = "layers.tar"
STORE = '"$HOME/.local/share/containers/storage"'
TAR = "podman unshare tar --xattrs --xattrs-include='*'"
UNPACK_LAYERS = f"""\
if [ -f {LAYERS} ]; then
  mkdir -p {STORE}
  {TAR} --extract --directory {STORE} --file {LAYERS}
fi
"""
# Without the cache the next build is slower, and that is all: a full disk must not fail this one.
PACK_LAYERS = f"""\
podman image prune --force --filter until=168h
{TAR} --create --directory {STORE} --file {LAYERS} overlay overlay-images overlay-layers || {{
  echo "The layers could not be packed: the next build starts without them"
  rm --force {LAYERS}
}}
"""

SUMMARIZE = r"""
if [ ! -s "$FILE" ]; then
  echo "$TITLE: no report was written; the log of this job says why." >> "$GITHUB_STEP_SUMMARY"
  exit 0
fi
jq --raw-output --arg title "$TITLE" '
  def number: if . == null then "-" else tostring end;
  def share: if . == null then "-" else "\(. * 10000 | round / 100) %" end;
  def plain: gsub("[|\n]"; " ");
  "### \($title): \(if .passed then "agrees" else "FAILS" end)", "",
  "| backend | over | samples | max abs | max rel | accuracy | verdict |",
  "|---|---|---:|---:|---:|---:|---|",
  (.rows[]
    | (if .passed | not then "FAILS" elif .skipped != "" then "skipped" else "agrees" end) as $verdict
    | "| \(.backend) | \(.protocol) | \(.samples) | \(.max_abs | number) | \(.max_rel | number)"
    + " | \(.accuracy | share) | \($verdict) |"),
  "", (.rows[] | .faults[] as $fault | "- \(.backend) over \(.protocol): \($fault | plain)")
' "$FILE" >> "$GITHUB_STEP_SUMMARY"
""".lstrip()


class GitHubActions:
    """Writes ``.github/workflows/modelport-<name>.yml``."""

    name = "github-actions"

    def render(self, release: Release) -> tuple[PlannedFile, ...]:
        """Give the workflow; see `modelport.target.Target.render`."""
        pipeline = plan_pipeline(release, engine="podman")
        path = f".github/workflows/{pipeline.name}.yml"
        text = render_yaml([_workflow(pipeline, path)], header_lines(release, self.name, _notes(pipeline)))
        for bare, why in PERMISSIONS.items():
            text = text.replace(f"{bare}\n", f"{bare}  # {why}\n")
        return (PlannedFile(path=path, content=Generated(data=note_versions(text).encode(), origin="the spec")),)


def _notes(pipeline: Pipeline) -> Iterator[str]:
    yield f"What is installed is {pipeline.requirements}, if that file is there; else {pipeline.requirement}."
    yield "Secret PIP_INDEX_URL: a private package index, with its password; the public one if not set."
    if _registry(pipeline) != OWN_REGISTRY:
        yield f"Secrets REGISTRY_USER and REGISTRY_PASSWORD: who pushes to {pipeline.registry}."
    yield "Variable MODELPORT_DEPLOY: true lets the stages from staging on run; they are skipped without it."
    names = ", ".join(leg.url_variable for leg in pipeline.legs)
    yield f"Environments staging and production: the secret KUBECONFIG; variables with the service's URL: {names}."
    if any(stage.variables for stage in pipeline.stages):
        yield "Environment production, for the canary: the variable PROMETHEUS_URL, and the secret PROMETHEUS_TOKEN."


def _workflow(pipeline: Pipeline, path: str) -> Data:
    paths = {"paths": [f"{pipeline.folder}/**", path]} if pipeline.folder else {}
    jobs = {stage.name: _job(pipeline, stage) for stage in pipeline.stages}
    return {
        "name": pipeline.name,
        "on": {"push": {"branches": [BRANCH], **paths}, "pull_request": paths or None, "workflow_dispatch": None},
        "permissions": {},
        "concurrency": {
            "group": "${{ github.workflow }}-${{ github.ref }}",
            "cancel-in-progress": "${{ github.event_name == 'pull_request' }}",
        },
        "defaults": {"run": {"shell": "bash"}},
        "env": {
            **pipeline.variables,
            "REPOSITORY": pipeline.repository or f"{OWN_REGISTRY}/${{{{ github.repository }}}}/{pipeline.image}",
        },
        "jobs": jobs,
    }


def _job(pipeline: Pipeline, stage: Stage) -> Data:
    job: Data = {"name": f"{stage.title} ({BACKEND})" if stage.per_backend else stage.title}
    if stage.needs:
        job["needs"] = list(stage.needs)
    if stage.release:
        switch = " && vars.MODELPORT_DEPLOY == 'true'" if stage.environment else ""
        job["if"] = f"github.ref == 'refs/heads/{BRANCH}'{switch}"
    job |= {"runs-on": RUNNER, "timeout-minutes": stage.minutes, "permissions": _permissions(pipeline, stage)}
    if stage.environment:
        job["environment"] = stage.environment
        job["concurrency"] = {
            "group": f"${{{{ github.workflow }}}}-{stage.environment}-{BACKEND}",
            "cancel-in-progress": False,
        }
    if stage.per_backend:
        job["strategy"] = {"fail-fast": False, "matrix": {"include": _matrix(pipeline, stage)}}
    if stage.scripts and stage.per_backend:
        names = ["BACKEND", *stage.values(pipeline.legs[0])]
        job["env"] = {name: f"${{{{ matrix.{name.lower()} }}}}" for name in names}
    if stage.environment:
        job["env"] |= {leg.url_variable: f"${{{{ vars.{leg.url_variable} }}}}" for leg in pipeline.legs}
    job["steps"] = list(_steps(pipeline, stage))
    return job


def _permissions(pipeline: Pipeline, stage: Stage) -> Data:
    permissions = {"contents": "read"} if Tool.MODELPORT in stage.tools else {}
    if stage.publishes:
        permissions["id-token"] = "write"
        if _registry(pipeline) == OWN_REGISTRY:
            permissions["packages"] = "write"
    return permissions


def _registry(pipeline: Pipeline) -> str:
    return pipeline.registry or OWN_REGISTRY


def _matrix(pipeline: Pipeline, stage: Stage) -> list[Data]:
    return [
        {"backend": leg.backend} | {name.lower(): value for name, value in stage.values(leg).items()}
        for leg in pipeline.legs
    ]


def _steps(pipeline: Pipeline, stage: Stage) -> Iterator[Data]:
    yield from _preparation(pipeline, stage)
    for kept in stage.takes:
        yield _use(f"Fetch {kept.name}", actions.DOWNLOAD, {"name": f"{kept.name}-{BACKEND}"})
    if Tool.SYFT in stage.tools:
        yield _list_contents(pipeline, stage)
    if Tool.GRYPE in stage.tools:
        yield _scan(stage)
    if Tool.ENGINE in stage.tools:
        yield from _restored_layers(pipeline)
    for script in stage.scripts:
        yield _script(pipeline, script)
    if Tool.ENGINE in stage.tools:
        yield _run("Pack layers", PACK_LAYERS, {}, condition="steps.layers.outputs.cache-hit != 'true'")
    if stage.report is not None:
        names = {"FILE": stage.report.file(BACKEND), "TITLE": stage.title}
        yield _run("Show the result", SUMMARIZE, names, condition=ANYWAY)
    for kept in stage.keeps:
        yield _keep(kept)


def _preparation(pipeline: Pipeline, stage: Stage) -> Iterator[Data]:
    if Tool.MODELPORT in stage.tools:
        yield _use("Check out", actions.CHECKOUT, {"persist-credentials": False})
        cached = f"{pipeline.spec}\n{pipeline.requirements}\n"
        settings = {"python-version": "3.11", "cache": "pip", "cache-dependency-path": cached}
        yield _use("Set up Python", actions.SETUP_PYTHON, settings)
        yield _run("Install modelport", INSTALL, {"PIP_INDEX_URL": "${{ secrets.PIP_INDEX_URL }}"})
    if Tool.ENGINE in stage.tools and pipeline.emulated:
        yield _use("Emulate other platforms", actions.SETUP_QEMU, {})
    if Tool.COSIGN in stage.tools:
        yield _use("Install cosign", actions.COSIGN, {})
    if stage.environment:
        secret = {"CONTENT": "${{ secrets.KUBECONFIG }}", "KUBECONFIG": KUBECONFIG}
        yield _run("Lead to the cluster", LEAD_TO_CLUSTER, secret)


def _restored_layers(pipeline: Pipeline) -> Iterator[Data]:
    """Have the layers of an earlier build at hand; they are kept anew when the spec or the pins change."""
    files = f"hashFiles('{pipeline.spec}', '{pipeline.requirements}')"
    settings = {
        "path": LAYERS,
        "key": f"{pipeline.name}-layers-{BACKEND}-${{{{ {files} }}}}",
        "restore-keys": f"{pipeline.name}-layers-{BACKEND}-",
    }
    step = _use("Restore layers", actions.CACHE, settings)
    yield {"name": step.pop("name"), "id": "layers", **step}
    yield _run("Unpack layers", UNPACK_LAYERS, {})


def _script(pipeline: Pipeline, script: Script) -> Data:
    own = _registry(pipeline) == OWN_REGISTRY
    given = {
        "KUBECONFIG": KUBECONFIG,
        "PROMETHEUS_URL": "${{ vars.PROMETHEUS_URL }}",
        "PROMETHEUS_TOKEN": "${{ secrets.PROMETHEUS_TOKEN }}",
        "REGISTRY_USER": "${{ github.actor }}" if own else "${{ secrets.REGISTRY_USER }}",
        "REGISTRY_PASSWORD": "${{ secrets.GITHUB_TOKEN }}" if own else "${{ secrets.REGISTRY_PASSWORD }}",
    }
    text = script.text
    if pipeline.repository is None and "$REPOSITORY" in text:  # a repository on GitHub may have capitals, no image may
        text = f'REPOSITORY="${{REPOSITORY,,}}"\n{text}'
    condition = FAILED if script.after_failure else ""
    return _run(script.name, text, {name: given[name] for name in script.reads}, condition)


def _list_contents(pipeline: Pipeline, stage: Stage) -> Data:
    (image, *_), (bill, *_) = stage.takes, stage.keeps
    return _use(
        "List what is in the image",
        actions.SBOM,
        {
            "image": f"{pipeline.archive}:{image.file(BACKEND)}",
            "format": "cyclonedx-json",
            "output-file": bill.file(BACKEND),
            "upload-artifact": False,
            "upload-release-assets": False,
        },
    )


def _scan(stage: Stage) -> Data:
    return _use(
        "Scan",
        actions.SCAN,
        {
            "sbom": stage.takes[0].file(BACKEND),
            "fail-build": True,
            "severity-cutoff": "high",
            "only-fixed": True,
            "output-format": "table",
        },
    )


def _keep(kept: Kept) -> Data:
    settings: Data = {
        "name": f"{kept.name}-{BACKEND}",
        "path": kept.file(BACKEND),
        "if-no-files-found": "warn" if kept.always else "error",
        "retention-days": kept.days,
    }
    if kept.suffix == ".tar":
        settings["compression-level"] = 0
    step = _use(f"Keep {kept.name}", actions.UPLOAD, settings)
    return {"name": step.pop("name"), "if": ANYWAY, **step} if kept.always else step


def _use(name: str, action: Action, settings: Mapping[str, Any]) -> Data:
    step: Data = {"name": name, "uses": action.use}
    if settings:
        step["with"] = dict(settings)
    return step


def _run(name: str, text: str, environment: Mapping[str, str], condition: str = "") -> Data:
    step: Data = {"name": name}
    if condition:
        step["if"] = condition
    if environment:
        step["env"] = dict(environment)
    step["run"] = text
    return step
