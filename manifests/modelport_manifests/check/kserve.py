"""What KServe 0.20 silently ignores, by deployment mode, and what it makes of a manifest that reads otherwise.

Read in KServe's API types, its validating webhook and its reconcilers (kserve/kserve: pkg/apis/serving/v1beta1,
pkg/controller/v1beta1/inferenceservice), and, for `spec.canary`, in pull requests 5672 and 5912.
"""

from __future__ import annotations

from collections.abc import Iterator

from modelport_manifests.check.fields import check_pod
from modelport_manifests.check.finding import Finding, error, warning
from modelport_manifests.check.known import check_keys, words
from modelport_manifests.check.objects import KSERVE, Object, World
from modelport_manifests.check.reading import Table, dig, number, table, tables, text

MODE = f"{KSERVE}/deploymentMode"
STOP = f"{KSERVE}/stop"
CLASS = f"{KSERVE}/autoscalerClass"
KNATIVE_CLASS = "autoscaling.knative.dev/class"
MODES = {"Standard": "Standard", "RawDeployment": "Standard", "Knative": "Knative", "Serverless": "Knative"}
"""What is accepted, and what it stands for; the second of each is the name before 0.16."""
CONTAINER = "kserve-container"
AUTOSCALING = ("maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling")
KNATIVE_METRICS = {"concurrency", "rps"}
STANDARD_ONLY = ("deploymentStrategy",)
EXTENSION = words(
    """
    minReplicas maxReplicas scaleTarget scaleMetric scaleMetricType autoScaling containerConcurrency timeout
    canaryTrafficPercent logger batcher labels annotations deploymentStrategy
    """
)
FRAMEWORKS = words(
    """
    sklearn xgboost tensorflow pytorch triton onnx huggingface pmml lightgbm paddle model
    """
)
PREDICTOR = (*EXTENSION, *FRAMEWORKS, "name", "workerSpec", "storageUris", "confidential")
SPEC = ("predictor", "transformer", "explainer", "canary")
CANARY = ("trafficPercent", "predictor")
RUNTIME_OWN = words(
    """
    supportedModelFormats multiModel disabled protocolVersions workerSpec labels annotations grpcEndpoint
    grpcDataEndpoint httpDataEndpoint replicas storageHelper builtInAdapter
    """
)


def check_kserve(world: World) -> Iterator[Finding]:
    """Check InferenceServices and ServingRuntimes."""
    for thing in world.objects:
        if thing.group != KSERVE:
            continue
        if thing.kind == "InferenceService":
            yield from _check_service(thing)
        elif thing.kind in {"ServingRuntime", "ClusterServingRuntime"}:
            yield from check_pod(table(thing.data, "spec"), RUNTIME_OWN, thing.kind)


def _check_service(service: Object) -> Iterator[Finding]:
    spec = table(service.data, "spec")
    annotations = table(service.data, "metadata", "annotations")
    said = text(annotations, MODE)
    mode = MODES.get(said, "")
    yield from check_keys(spec, SPEC, "InferenceService")
    if said and not mode and said != "ModelMesh":
        message = f"KServe knows no mode {said!r} and takes the cluster's default instead; say Standard or Knative"
        yield error(annotations.at(MODE), "kserve-mode-unknown", message)
    predictor = table(spec, "predictor")
    yield from check_pod(predictor, PREDICTOR, "predictor")
    for index, canary in enumerate(tables(spec, "canary")):
        yield from check_pod(table(canary, "predictor"), PREDICTOR, f"canary[{index}].predictor")
    yield from _check_containers(predictor)
    if mode == "Standard":
        yield from _check_standard(service, spec, predictor)
    elif mode == "Knative":
        yield from _check_knative(annotations, spec, predictor)


def _check_standard(service: Object, spec: Table, predictor: Table) -> Iterator[Finding]:
    if "canaryTrafficPercent" in predictor:
        message = (
            "canaryTrafficPercent is ignored in Standard mode: the new version gets all traffic at once; use "
            "spec.canary (KServe 0.20), or the Knative mode"
        )
        yield error(predictor.at("canaryTrafficPercent"), "kserve-canary-ignored", message)
    if number(predictor, "minReplicas") == 0:
        message = (
            f"minReplicas: 0 is taken for 1 in Standard mode; use the Knative mode, or stop the service with the "
            f'annotation {STOP}: "true"'
        )
        yield error(predictor.at("minReplicas"), "kserve-scale-to-zero", message)
    annotations = table(service.data, "metadata", "annotations")
    yield from _check_metric(annotations, predictor)
    if "containerConcurrency" in predictor:
        message = "containerConcurrency is Knative's; in Standard mode nothing limits concurrent requests; remove it"
        yield warning(predictor.at("containerConcurrency"), "kserve-key-ignored", message)
    if KNATIVE_CLASS in annotations:
        message = f"{KNATIVE_CLASS} means nothing in Standard mode; use {CLASS}"
        yield warning(annotations.at(KNATIVE_CLASS), "kserve-key-ignored", message)
    yield from _check_canaries(spec)


def _check_metric(annotations: Table, predictor: Table) -> Iterator[Finding]:
    metric = text(predictor, "scaleMetric")
    if metric in KNATIVE_METRICS:
        message = f"scaleMetric: {metric} is Knative's; in Standard mode say cpu or memory"
        yield error(predictor.at("scaleMetric"), "kserve-scale-metric", message)
    elif metric and (text(annotations, CLASS) != "hpa" or text(annotations, MODE) != "Standard"):
        message = (
            f"scaleMetric: {metric} is refused unless the annotations say {CLASS}: hpa and {MODE}: Standard, in "
            "exactly these words"
        )
        yield error(predictor.at("scaleMetric"), "kserve-scale-metric", message)


def _check_canaries(spec: Table) -> Iterator[Finding]:
    names: set[str] = set()
    total = 0
    for canary in tables(spec, "canary"):
        inner = table(canary, "predictor")
        yield from check_keys(canary, CANARY, "canary")
        name = text(inner, "name")
        if not name or name in names:
            message = (
                f"{'two canaries are called ' + name if name else 'a canary has no predictor.name'}: it is refused"
            )
            yield error(inner.at("name"), "kserve-canary-name", message)
        names.add(name)
        total += number(canary, "trafficPercent") or 0
        for key in AUTOSCALING:
            if key in inner:
                message = f"{key} stands in a canary, which has a fixed number of replicas: it is refused; remove it"
                yield error(inner.at(key), "kserve-canary-autoscale", message)
    if total > 100:
        message = f"the canaries' shares sum up to {total} %, more than 100: it is refused"
        yield error(spec.at("canary"), "kserve-canary-share", message)


def _check_knative(annotations: Table, spec: Table, predictor: Table) -> Iterator[Finding]:
    if "canary" in spec:
        message = "spec.canary is for Standard mode; in Knative mode say predictor.canaryTrafficPercent"
        yield error(spec.at("canary"), "kserve-canary-ignored", message)
    for key in STANDARD_ONLY:
        if key in predictor:
            message = f"{key} is ignored in Knative mode, which rolls by revisions; remove it"
            yield warning(predictor.at(key), "kserve-key-ignored", message)
    metric, scaler = text(predictor, "scaleMetric"), text(annotations, KNATIVE_CLASS)
    by_hpa = scaler.startswith("hpa.")
    if metric and by_hpa == (metric in KNATIVE_METRICS):
        message = (
            f"scaleMetric: {metric} is refused with {'the HPA' if by_hpa else 'Knative`s own autoscaler'}; cpu and "
            f"memory need the annotation {KNATIVE_CLASS}: hpa.autoscaling.knative.dev, concurrency and rps its absence"
        )
        yield error(predictor.at("scaleMetric"), "kserve-scale-metric", message)
    if by_hpa and number(predictor, "minReplicas") == 0:
        message = f"the HPA never scales to zero; remove {KNATIVE_CLASS}, and Knative scales by requests"
        yield error(predictor.at("minReplicas"), "kserve-scale-to-zero", message)
    for container in tables(predictor, "containers"):
        ports = tables(container, "ports")
        if len(ports) > 1:
            message = f"Knative takes one port a container and refuses {len(ports)}; keep the one that callers use"
            yield error(container.at("ports"), "kserve-ports", message)
        for port in ports:
            if text(port, "name") not in {"", "http1", "h2c"}:
                message = f"Knative refuses the port name {text(port, 'name')!r}; say http1, or h2c for gRPC"
                yield error(port.at("name"), "kserve-ports", message)


def _check_containers(predictor: Table) -> Iterator[Finding]:
    containers = tables(predictor, "containers")
    if containers and text(containers[0], "name") != CONTAINER:
        message = f"the first container must be called {CONTAINER}: KServe's webhooks find it by that name"
        yield error(containers[0].at("name"), "kserve-container-name", message)
    model = table(predictor, "model")
    stored = dig(model, "storageUri") or dig(model, "storage") is not None or dig(predictor, "storageUris")
    if model and not stored and text(model, "modelFormat", "name") != "huggingface":
        message = (
            "model without storageUri is taken for a multi-model server: KServe puts its model agent before the "
            "server and waits for models that never come; where the image carries the model, say containers instead"
        )
        yield error(model.place, "kserve-agent", message)
