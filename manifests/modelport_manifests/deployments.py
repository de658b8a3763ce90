"""The stages after a signed image: staging, a first share of the traffic where the spec has a strategy, production."""

from __future__ import annotations

from dataclasses import replace

from modelport.errors import SpecError
from modelport.spec.schema import BlueGreenSection, CanarySection, DeploySection, ModelSpec, StrategySection
from modelport.target import Release
from modelport_manifests.canary import ANALYSIS, canary_queries
from modelport_manifests.kubernetes import canary_overlays
from modelport_manifests.names import INSTANCE, TRACK, Track, object_name
from modelport_manifests.pipeline import REFERENCE, Kept, Script, Stage, Tool

LONGEST_JOB_MIN = 6 * 60  # on GitHub's machines
LONGEST_KEEP_S = 5 * 3600  # so that there is an hour for the rest

TRY_OUT = """\
url="$(printenv "$URL_VARIABLE" || true)"
if [ -z "$url" ]; then
  echo "$URL_VARIABLE is empty: set it in this environment, to where the service answers" >&2
  exit 1
fi
"""


def plan_deployments(release: Release) -> tuple[Stage, ...]:
    """Lay out the stages in which the image gets to its callers.

    With a canary, each of its steps is taken and judged, and then all of the traffic.

    Raises:
        SpecError: The strategy cannot be followed by a pipeline, or several backends share one host.
    """
    deploy = release.spec.deploy or DeploySection()
    if deploy.ingress is not None and len(release.services) > 1:
        raise SpecError(
            f"deploy.ingress.host: {deploy.ingress.host} leads to one service, and this pipeline would deploy "
            f"{len(release.services)}; choose one with --backend"
        )
    staging = _deployment("staging", "Deploy to staging, try it through the client", "dev", needs="publish")
    takeover = _takeover(release, deploy.strategy or StrategySection())
    if takeover is None:
        return staging, _deployment("production", "Deploy to production", "prod", needs="staging")
    track, stage = takeover
    production = _deployment("production", "Deploy to production", "prod", needs=stage.name)
    ended = Script(name=f"End {track}", text=_deletion(release.spec, track), reads=("KUBECONFIG",))
    names = {"NAME": stage.variables["NAME"]}
    return (
        staging,
        stage,
        replace(production, tools=stage.tools, scripts=(*production.scripts, ended), variables=names),
    )


def _takeover(release: Release, strategy: StrategySection) -> tuple[Track, Stage] | None:
    if strategy.canary is not None:
        return "canary", _canary(release, strategy.canary)
    if strategy.blue_green is not None:
        return "green", _blue_green(release, strategy.blue_green)
    return None


def _canary(release: Release, canary: CanarySection) -> Stage:
    shares = canary_overlays(release.spec)
    steps = [script for overlay, share in shares.items() for script in _canary_step(overlay, share)]
    variables = _names(release)
    for service in release.services:
        for name, query in canary_queries(release.spec, service, canary).items():
            variables.setdefault(name, {})[service.backend] = query
    return Stage(
        name="canary",
        title=f"Canary: {', '.join(map(str, shares.values()))} % of the requests, judged by its metrics",
        needs=("staging",),
        tools=frozenset({Tool.MODELPORT, Tool.KUBECTL}),
        scripts=(_look(release.spec), *steps, _withdraw(release.spec, "canary")),
        takes=(REFERENCE,),
        keeps=(_answers("canary"),),
        report=_answers("canary"),
        variables=variables,
        environment="production",
        release=True,
        minutes=min(LONGEST_JOB_MIN, 30 + 30 * len(shares)),
    )


def _canary_step(overlay: str, share: int) -> tuple[Script, ...]:
    judge = Script(name="Judge", text=ANALYSIS, reads=("PROMETHEUS_URL", "PROMETHEUS_TOKEN"))
    found = (_deploy(overlay), _try_out("canary"), judge)
    return tuple(replace(script, name=f"{script.name} ({share} %)") for script in found)


def _blue_green(release: Release, section: BlueGreenSection) -> Stage:
    if section.keep_s > LONGEST_KEEP_S:
        raise SpecError(
            f"deploy.strategy.blue_green.keep_s: {section.keep_s} is more than a job of a pipeline can wait; at most "
            f"{LONGEST_KEEP_S}, or deploy by hand with the overlays blue-green and blue-green-switch"
        )
    keep = Script(name="Keep the old version for a while", text=f"sleep {section.keep_s}")
    return Stage(
        name="green",
        title="All requests to the new version, the old one stands by",
        needs=("staging",),
        tools=frozenset({Tool.MODELPORT, Tool.KUBECTL}),
        scripts=(
            _look(release.spec),
            _deploy("blue-green"),
            replace(_deploy("blue-green-switch"), name="Switch"),
            _try_out("green"),
            keep,
            _withdraw(release.spec, "green"),
        ),
        takes=(REFERENCE,),
        keeps=(_answers("green"),),
        report=_answers("green"),
        variables=_names(release),
        environment="production",
        release=True,
        minutes=30 + section.keep_s // 60,
    )


def _names(release: Release) -> dict[str, dict[str, str]]:
    return {"NAME": {each.backend: object_name(release.spec, each.backend) for each in release.services}}


def _deployment(name: str, title: str, overlay: str, *, needs: str) -> Stage:
    return Stage(
        name=name,
        title=title,
        needs=(needs,),
        scripts=(_deploy(overlay), _try_out(name)),
        takes=(REFERENCE,),
        keeps=(_answers(name),),
        report=_answers(name),
        environment=name,
        release=True,
    )


def _answers(stage: str) -> Kept:
    return Kept(name=f"{stage}-answers", suffix=".json", days=30, always=True)


def _deploy(overlay: str) -> Script:
    return Script(
        name="Deploy",
        text='modelport deploy "$SPEC" --backend "$BACKEND" --target kubernetes '
        f'--overlay {overlay} --image "$(cat "{REFERENCE.file()}")" --wait',
        reads=("KUBECONFIG",),
    )


def _try_out(stage: str) -> Script:
    return Script(
        name="Compare its answers with the framework's",
        text=f'{TRY_OUT}modelport verify "$SPEC" --url "$url" --json > "{_answers(stage).file()}"',
    )


def _look(spec: ModelSpec) -> Script:
    """End where nothing runs yet: the overlays of a takeover rest on what the old version has put there."""
    text = (
        f'if [ -z "$(kubectl get deployment "$NAME"{_place(spec)} --ignore-not-found --output name)" ]; then\n'
        '  echo "No old version of $NAME runs that this one could take over from. Deploy the first one by hand:" >&2\n'
        '  echo "modelport deploy $SPEC --backend $BACKEND --target kubernetes --overlay prod '
        f'--image $(cat "{REFERENCE.file()}")" >&2\n'
        "  exit 1\n"
        "fi"
    )
    return Script(name="Look for the old version", text=text, reads=("KUBECONFIG",))


def _withdraw(spec: ModelSpec, track: Track) -> Script:
    """Lead all traffic to the stable version again, then take the new one away.

    What leads there is applied as `modelport deploy` does, so that the next deployment finds nobody else's fields.
    """
    ingress = spec.deploy.ingress if spec.deploy is not None else None
    entrances = ["service", "httproute"] if ingress is not None and ingress.kind == "gateway" else ["service"]
    files = " ".join(f"--filename manifests/base/{kind}.yaml" for kind in entrances)
    text = (
        f'if [ -z "$(kubectl get deployment{_place(spec)} --selector "{_labels(track)}" --output name)" ]; then\n'
        '  echo "There is nothing to withdraw"\n'
        "  exit 0\n"
        "fi\n"
        'modelport manifests "$SPEC" --backend "$BACKEND" --target kubernetes --output manifests '
        f'--image "$(cat "{REFERENCE.file()}")"\n'
        f"kubectl apply --server-side --field-manager modelport{_place(spec)} {files}\n"
        f"{_deletion(spec, track)}"
    )
    return Script(name=f"Withdraw {track}", text=text, reads=("KUBECONFIG",), after_failure=True)


def _deletion(spec: ModelSpec, track: Track) -> str:
    return (
        f"kubectl delete deployment,horizontalpodautoscaler,service,ingress,configmap{_place(spec)} \\\n"
        f'  --ignore-not-found --selector "{_labels(track)}"'
    )


def _labels(track: Track) -> str:
    return f"{INSTANCE}=$NAME,{TRACK}={track}"


def _place(spec: ModelSpec) -> str:
    namespace = spec.deploy.namespace if spec.deploy is not None else None
    return "" if namespace is None else f" --namespace {namespace}"
