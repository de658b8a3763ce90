"""The target ``helm``: a chart for each backend."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from modelport._version import VERSION
from modelport.plan import Generated, PlannedFile, ServicePlan
from modelport.spec.schema import DeploySection, ModelSpec
from modelport.target import Release
from modelport_manifests.kubernetes import Kubernetes
from modelport_manifests.names import digest, object_name
from modelport_manifests.serving import find_port, port_name
from modelport_manifests.writer import header_lines, yaml_file

from .templates import plan_fills, plan_parts
from .text import escape, render_template
from .values import DESCRIPTIONS, plan_schema, plan_values

Object = dict[str, Any]

NAME = "helm"
SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-(0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(\.(0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*)?"
    r"(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?"
)
OLDEST = {"volume": "1.33"}


class Helm:
    """A chart whose default values give what the target kubernetes gives."""

    name = NAME

    def render(self, release: Release) -> tuple[PlannedFile, ...]:
        """Give a chart for each backend, in a folder that has its name.

        Raises:
            SpecError: The spec asks for what could not work.
        """
        Kubernetes().render(release)  # what it refuses would not work from a chart either
        return tuple(file for service in release.services for file in _render(release, service))

    def warnings(self, release: Release) -> tuple[str, ...]:
        """Say what the cluster must have, and what a chart leaves to others."""
        deploy = release.spec.deploy
        if deploy is None or deploy.strategy is None:
            return Kubernetes().warnings(release)
        spec = release.spec.model_copy(update={"deploy": deploy.model_copy(update={"strategy": None})})
        alone = (
            "deploy.strategy: a chart has the rolling update alone; a canary or blue-green roll-out is for --target "
            "kubernetes or kserve"
        )
        return (*Kubernetes().warnings(replace(release, spec=spec)), alone)


def _render(release: Release, service: ServicePlan) -> Iterator[PlannedFile]:
    spec = release.spec
    chart = object_name(spec, service.backend)
    values = plan_values(spec, service)
    yield yaml_file(f"{chart}/Chart.yaml", [plan_chart(spec, service)], release, NAME)
    yield yaml_file(f"{chart}/values.yaml", [values], release, NAME, ("values.schema.json says what may stand here.",))
    yield _file(f"{chart}/values.schema.json", json.dumps(plan_schema(values), indent=2) + "\n")
    yield _file(f"{chart}/README.md", render_readme(release, service, values))
    yield _file(f"{chart}/.helmignore", ".git/\n*.tgz\n*.orig\n")
    yield _file(f"{chart}/templates/_helpers.tpl", render_helpers(chart))
    yield _file(f"{chart}/templates/NOTES.txt", render_notes(spec, service))
    fills = plan_fills(chart)
    for part in plan_parts(spec, service):
        header = header_lines(release, NAME)
        text = render_template([part.data], header, fills, part.condition)
        yield _file(f"{chart}/templates/{part.data['kind'].lower()}.yaml", text)


def _file(path: str, text: str) -> PlannedFile:
    return PlannedFile(path=path, content=Generated(data=text.encode(), origin="the spec"))


def plan_chart(spec: ModelSpec, service: ServicePlan) -> Object:
    """Give ``Chart.yaml``. A chart's version is semantic: a model's that is not gives one by its digest."""
    version = spec.version if SEMVER.fullmatch(spec.version) else f"0.0.0-v{digest(spec.version.encode())}"
    weights = (spec.deploy or DeploySection()).weights
    return {
        "apiVersion": "v2",
        "name": object_name(spec, service.backend),
        "description": " ".join(spec.description.split()) or f"The model {spec.name} on {service.backend}.",
        "type": "application",
        "version": version,
        "appVersion": spec.version,
        "kubeVersion": f">={OLDEST.get(weights, '1.29')}.0-0",
    }


def render_helpers(chart: str) -> str:
    """Give the named templates: the reference of the image, and of the image with the weights."""
    return f"""\
{{{{- define "{chart}.tagged" -}}}}
{{{{- with .Values.image -}}}}
{{{{ .repository }}}}{{{{ with .tag }}}}:{{{{ . }}}}{{{{ end }}}}
{{{{- end -}}}}
{{{{- end -}}}}

{{{{- define "{chart}.image" -}}}}
{{{{ include "{chart}.tagged" . }}}}{{{{ with .Values.image.digest }}}}@{{{{ . }}}}{{{{ end }}}}
{{{{- end -}}}}

{{{{- define "{chart}.weights" -}}}}
{{{{ include "{chart}.tagged" . }}}}-weights
{{{{- end -}}}}
"""


def render_notes(spec: ModelSpec, service: ServicePlan) -> str:
    """Give what Helm prints after an installation."""
    name = object_name(spec, service.backend)
    port = find_port(service, next(iter(service.endpoints)))
    place = "--namespace {{ .Release.Namespace }}"
    title = escape(f"{spec.name} {spec.version} on {service.backend}")
    return f"""\
{title} is being started; it is ready when this ends:

  kubectl {place} rollout status deployment/{name}

Within the cluster it answers at {name}.{{{{ .Release.Namespace }}}}.svc, port {port.number} ({port_name(port)}).
{{{{- if .Values.ingress.enabled }}}}
Outside of it, at {{{{ .Values.ingress.host }}}}.
{{{{- end }}}}
From this machine:

  kubectl {place} port-forward service/{name} {port.number}
"""


def render_readme(release: Release, service: ServicePlan, values: Object) -> str:
    """Give the chart's own document: how it is installed, and its values."""
    spec = release.spec
    name = object_name(spec, service.backend)
    rows = "\n".join(f"| `{path}` | {DESCRIPTIONS[path]} | `{_show(default)}` |" for path, default in _flat(values))
    return f"""\
# {name}

{spec.name} {spec.version} on {service.backend}, as Helm chart. Made by modelport {VERSION} from {release.spec_path}.

```console
helm install {name} . --namespace NAMESPACE --create-namespace
helm upgrade {name} . --namespace NAMESPACE --atomic
```

With the values as they are it makes what `modelport manifests SPEC --target kubernetes` makes. One namespace takes one
release of it: the objects are named after the model.

| value | meaning | default |
|---|---|---|
{rows}

A key that is not in this table is refused (`values.schema.json`). What Helm makes of the values is checked with
`helm template . --output-dir rendered` and `modelport manifests check rendered`.
"""


def _flat(values: Object, path: str = "") -> Iterator[tuple[str, Any]]:
    for key, default in values.items():
        if f"{path}{key}" in DESCRIPTIONS:
            yield f"{path}{key}", default
        else:
            yield from _flat(default, f"{path}{key}.")


def _show(default: Any) -> str:
    return json.dumps(default).replace("|", "\\|")
