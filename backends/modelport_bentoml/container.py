"""The service of a Bento in its image."""

from __future__ import annotations

from modelport.artifact import Artifact
from modelport.plan import Metrics, Port, Readiness, ServicePlan
from modelport.python_image import INIT_COMMAND, SCRATCH
from modelport.spec.schema import ModelSpec
from modelport_bentoml.image import COMMAND, PROBE, REST, START_S, WEIGHTS_FOLDER, weight_files

ENDING_S = 10.0  # an idle server takes about two seconds

# Probes and documents are counted under the same names, by their paths.
_PREDICTIONS = 'endpoint="/predict",$selector'
METRICS = Metrics(
    port="rest",
    path="/metrics",
    requests=f"sum(rate(bentoml_service_request_total{{{_PREDICTIONS}}}[$window]))",
    errors=f'sum(rate(bentoml_service_request_total{{http_response_code=~"5..",{_PREDICTIONS}}}[$window]))',
    latency_s=(
        "histogram_quantile(0.95, sum by (le) "
        f"(rate(bentoml_service_request_duration_seconds_bucket{{{_PREDICTIONS}}}[$window])))"
    ),
    saturation=f"sum(bentoml_service_request_in_progress{{{_PREDICTIONS}}})",
)


def plan_container(artifact: Artifact, reference: str) -> ServicePlan:
    """Describe ``bentoml serve`` in an image. Told to end, it first answers what it works on."""
    spec = ModelSpec.model_validate(artifact.record["spec"])
    return ServicePlan(
        backend="bentoml",
        server="bentoml serve",
        command=(*INIT_COMMAND, *COMMAND),
        ports=(Port(name="rest", number=REST),),
        readiness=Readiness(port="rest", path="/readyz"),
        endpoints={"rest": f"http://127.0.0.1:{REST}"},
        start_timeout_s=START_S,
        grace_s=spec.serving.timeout_s + ENDING_S,
        image=reference,
        writable=(SCRATCH,),
        probe=PROBE,
        metrics=METRICS,
        model_bytes=sum(file.content.size or 0 for file in weight_files(artifact)),
        model_folder=WEIGHTS_FOLDER,
    )
