"""Makes a version ready to serve: load it, put batching in front of it, replay its warm-up records."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from modelport_tfserving.server.batching import BatchScheduler
from modelport_tfserving.server.inference import Inference
from modelport_tfserving.server.servable import LoadSettings, Servable, load_servable
from modelport_tfserving.server.warmup import run_warmup


@dataclass(frozen=True, kw_only=True)
class Loader:
    """Loads versions; without a scheduler there is no batching, with 0 iterations no warm-up."""

    settings: LoadSettings
    inference: Inference
    scheduler: BatchScheduler | None
    warmup_iterations: int

    def __call__(self, name: str, version: int, path: Path) -> Servable:
        """Return the version, loaded and warmed up. Raises `ServingError`; nothing stays loaded then."""
        metrics = self.inference.metrics
        started = time.perf_counter()
        try:
            servable = load_servable(name, version, path, self.settings)
        except Exception:
            metrics.load_attempts.add(str(path), "fail")
            raise
        metrics.load_attempts.add(str(path), "success")
        metrics.load_latency.add(str(path), amount=(time.perf_counter() - started) * 1e6)
        if self.scheduler is not None:
            servable.run = self.scheduler.wrap(servable.run)
        try:
            if self.warmup_iterations:
                run_warmup(servable, path, self.inference, self.warmup_iterations)
        except Exception:
            servable.close()
            raise
        return servable
