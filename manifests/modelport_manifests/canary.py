"""What a canary is judged by: questions to Prometheus, in the words of the server that runs."""

from __future__ import annotations

from modelport.errors import SpecError
from modelport.plan import Metrics, ServicePlan
from modelport.spec.schema import CanarySection, ModelSpec
from modelport_manifests.names import Track, object_name, track_name

WINDOW = "5m"
WINDOW_S = 300


def canary_queries(spec: ModelSpec, service: ServicePlan, canary: CanarySection) -> dict[str, str]:
    """Give the PromQL of an analysis, by the name of the variable that holds it.

    Returns:
        ``TRAFFIC`` and ``LATENCY`` must have an answer: the canary was asked, and its times are known. ``ERRORS`` and
        ``SLOWER`` must have none: too many requests fail, it is too slow beside the stable version. The two of latency
        are empty where the server tells no distribution.

    Raises:
        SpecError: The server tells no metrics, or not those that the spec sets a limit for.
    """
    metrics = service.metrics
    if metrics is None:
        raise SpecError(
            f"deploy.strategy.canary: {service.backend} tells Prometheus nothing, so no canary of it can be judged; "
            "leave strategy out, or use another backend"
        )
    if metrics.latency_s is None and "p95_ratio" in canary.model_fields_set:
        raise SpecError(
            f"deploy.strategy.canary.p95_ratio: {service.backend} tells no distribution of its latency; leave the key "
            "out, and its canary is judged by its errors alone"
        )
    new, old = (_selector(spec, service, track) for track in ("canary", "stable"))
    requests = f"sum({_query(metrics.requests, new)})"
    queries = {
        "TRAFFIC": f"{requests} > 0",
        "ERRORS": f"sum({_query(metrics.errors, new)}) / {requests} > {canary.error_rate:g}",
    }
    return queries | _latency_queries(metrics, new, old, canary.p95_ratio)


def _latency_queries(metrics: Metrics, new: str, old: str, ratio: float) -> dict[str, str]:
    if metrics.latency_s is None:
        return {"LATENCY": "", "SLOWER": ""}
    latency = f"max({_query(metrics.latency_s, new)})"
    return {"LATENCY": f"{latency} >= 0", "SLOWER": f"{latency} > {ratio:g} * max({_query(metrics.latency_s, old)})"}


def _query(template: str, selector: str) -> str:
    return template.replace("$selector", selector).replace("$window", WINDOW)


def _selector(spec: ModelSpec, service: ServicePlan, track: Track) -> str:
    """Match a Deployment's pods by their names: its own, then a hash, then five letters, without a dash in either."""
    matchers = [f'pod=~"{track_name(object_name(spec, service.backend), track)}-[a-z0-9]+-[a-z0-9]+"']
    if spec.deploy is not None and spec.deploy.namespace is not None:
        matchers.insert(0, f'namespace="{spec.deploy.namespace}"')
    return ",".join(matchers)


ANALYSIS = f"""\
: "${{PROMETHEUS_URL:?is empty: set it in this environment, so that the canary can be judged}}"
echo "Waiting {WINDOW_S} seconds for metrics"
sleep {WINDOW_S}
answers() {{
  curl --fail --silent --show-error --get "$PROMETHEUS_URL/api/v1/query" --data-urlencode "query=$1" \\
    ${{PROMETHEUS_TOKEN:+--header "Authorization: Bearer $PROMETHEUS_TOKEN"}} > answer.json
  python -c 'import json; print(len(json.load(open("answer.json"))["data"]["result"]))'
}}
judge() {{
  found="$(answers "$2")"
  echo "$2: $found answers, right would be: $3"
  if [ "$found" -gt 0 ]; then has=some; else has=none; fi
  if [ "$has" != "$3" ]; then echo "The canary fails: $1" >&2; exit 1; fi
}}
judge "no request reached it" "$TRAFFIC" some
judge "more requests fail than deploy.strategy.canary.error_rate allows" "$ERRORS" none
if [ -n "$LATENCY" ]; then
  judge "its latency is not known" "$LATENCY" some
  judge "it is slower than deploy.strategy.canary.p95_ratio allows" "$SLOWER" none
else
  echo "This server tells no distribution of its latency: the canary was judged by its errors alone"
fi
"""
"""Shell that asks `canary_queries` of Prometheus and ends with 1 unless all answers are right."""
