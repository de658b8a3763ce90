"""Counters and histograms under the real server's names, as the Prometheus text that it serves."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# A client may ask for any model name; past this many label sets of one metric, new ones share an empty one.
_MAX_SERIES = 1000


def _exponential(scale: float, factor: float, count: int) -> tuple[float, ...]:
    return tuple(scale * factor**power for power in range(count))


_LATENCY_BUCKETS = _exponential(10, 1.8, 33)
_SIZE_BUCKETS = _exponential(1, 2, 16)


@dataclass
class Counter:
    """A number that only grows, one per set of label values."""

    name: str
    labels: tuple[str, ...]
    _values: dict[tuple[str, ...], float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, *label_values: str, amount: float = 1) -> None:
        """Add to the series of these label values."""
        with self._lock:
            key = _bounded(label_values, self._values)
            self._values[key] = self._values.get(key, 0) + amount

    def first(self) -> int:
        """Return the value of the first series, by its label values; 0 where there is none."""
        with self._lock:
            return int(self._values[min(self._values)]) if self._values else 0

    def render(self) -> list[str]:
        """Return the lines of the text format."""
        with self._lock:
            values = dict(self._values)
        lines = [f"# TYPE {self.name} counter"] if values else []
        return lines + [
            f"{self.name}{{{_render_labels(self.labels, key)}}} {value:.0f}" for key, value in values.items()
        ]


@dataclass
class Histogram:
    """A distribution over fixed buckets, one per set of label values."""

    name: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...]
    _values: dict[tuple[str, ...], list[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def observe(self, value: float, *label_values: str) -> None:
        """Count one value in the series of these label values."""
        with self._lock:
            key = _bounded(label_values, self._values)
            counts = self._values.setdefault(key, [0.0] * (len(self.buckets) + 2))
            counts[bisect.bisect_left(self.buckets, value)] += 1
            counts[-1] += value

    def render(self) -> list[str]:
        """Return the lines of the text format: cumulative buckets, sum and count."""
        with self._lock:
            values = {key: list(counts) for key, counts in self._values.items()}
        lines = [f"# TYPE {self.name} histogram"] if values else []
        for key, counts in values.items():
            labels = _render_labels(self.labels, key)
            prefix = f"{labels}," if labels else ""
            cumulative = 0.0
            for limit, count in zip([*(f"{bucket:g}" for bucket in self.buckets), "+Inf"], counts, strict=False):
                cumulative += count
                lines.append(f'{self.name}_bucket{{{prefix}le="{limit}"}} {cumulative:.0f}')
            lines.append(f"{self.name}_sum{{{labels}}} {counts[-1]:.10g}")
            lines.append(f"{self.name}_count{{{labels}}} {cumulative:.0f}")
        return lines


class Metrics:
    """All that this server counts; latencies are in microseconds, sizes in rows."""

    def __init__(self) -> None:
        serving, session = ":tensorflow:serving:", ":tensorflow:serving:batching_session:"
        self.request_count = Counter(f"{serving}request_count", ("model_name", "status"))
        self.request_latency = Histogram(
            f"{serving}request_latency", ("model_name", "API", "entrypoint"), _LATENCY_BUCKETS
        )
        self.runtime_latency = Histogram(
            f"{serving}runtime_latency", ("model_name", "API", "runtime"), _LATENCY_BUCKETS
        )
        self.warmup_latency = Histogram(f"{serving}model_warmup_latency", ("model_path", "status"), _LATENCY_BUCKETS)
        self.graph_runs = Counter(":tensorflow:core:graph_runs", ())
        self.load_attempts = Counter(":tensorflow:cc:saved_model:load_attempt_count", ("model_path", "status"))
        self.load_latency = Counter(":tensorflow:cc:saved_model:load_latency", ("model_path",))
        self.queuing_latency = Histogram(f"{session}queuing_latency", (), _LATENCY_BUCKETS)
        self.input_batch_size = Histogram(f"{session}input_batch_size", (), _SIZE_BUCKETS)
        self.processed_batch_size = Histogram(f"{session}processed_batch_size", (), _SIZE_BUCKETS)
        self.padding_size = Histogram(f"{session}padding_size", ("execution_batch_size",), _SIZE_BUCKETS)

    def read(self, name: str) -> int:
        """Return a counter's value as a reload request asks for it: by its name with slashes, 0 where there is none."""
        wanted = name.replace("/", ":")
        counters = (metric for metric in vars(self).values() if isinstance(metric, Counter))
        return next((counter.first() for counter in counters if counter.name == wanted), 0)

    def render(self) -> str:
        """Return the page: every metric that has been counted so far."""
        lines: list[str] = []
        for metric in vars(self).values():
            lines += metric.render()
        return "\n".join(lines) + "\n"


def _bounded(label_values: tuple[str, ...], known: Mapping[tuple[str, ...], object]) -> tuple[str, ...]:
    if label_values not in known and len(known) >= _MAX_SERIES:
        return ("",) * len(label_values)
    return label_values


def _render_labels(names: Sequence[str], values: Sequence[str]) -> str:
    return ",".join(
        '{}="{}"'.format(name, value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"))
        for name, value in zip(names, values, strict=True)
    )
