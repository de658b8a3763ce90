"""The text of TensorFlow Serving's configuration files (protocol buffers' text format)."""

from __future__ import annotations

from collections.abc import Iterable

from modelport.spec.schema import BatchingSection

METRICS_PATH = "/monitoring/prometheus/metrics"


def render_models(name: str, base_path: str, number: int, labels: Iterable[str]) -> str:
    """Render ``models.config``: one model, its one version, its labels."""
    lines = [
        "model_config_list {",
        "  config {",
        f"    name: {quoted(name)}",
        f"    base_path: {quoted(base_path)}",
        '    model_platform: "tensorflow"',
        f"    model_version_policy {{ specific {{ versions: {number} }} }}",
        *(f"    version_labels {{ key: {quoted(label)} value: {number} }}" for label in sorted(labels)),
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"


def render_batching(batching: BatchingSection | None, threads: int, max_enqueued_batches: int) -> str:
    """Render ``batching.config``; the server reads it only with ``--enable_batching``."""
    head = [] if batching else ["# The spec asks for no batching: used only if you start with --enable_batching."]
    chosen = batching or BatchingSection()
    lines = [
        *head,
        f"max_batch_size {{ value: {chosen.max_size} }}",
        f"batch_timeout_micros {{ value: {chosen.max_delay_ms * 1000} }}",
        f"num_batch_threads {{ value: {threads} }}",
        f"max_enqueued_batches {{ value: {max_enqueued_batches} }}",
        *(f"allowed_batch_sizes: {size}" for size in allowed_sizes(chosen.max_size)),
    ]
    return "\n".join(lines) + "\n"


def render_monitoring() -> str:
    """Render ``monitoring.config``: Prometheus metrics on the REST port."""
    return f'prometheus_config {{\n  enable: true\n  path: "{METRICS_PATH}"\n}}\n'


def allowed_sizes(largest: int) -> list[int]:
    """Give the sizes that batches are padded to: powers of two, and the largest itself, ascending."""
    sizes = [1]
    while sizes[-1] * 2 < largest:
        sizes.append(sizes[-1] * 2)
    return sizes if largest == 1 else [*sizes, largest]


def quoted(text: str) -> str:
    """Quote a string for the text format."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
