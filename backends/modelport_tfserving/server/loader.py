"""Makes a version ready to serve: load it, put batching in front of it, replay its warm-up records."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from modelport_tfserving.server.batching import BatchScheduler, RunKind
from modelport_tfserving.server.configs import load_batching
from modelport_tfserving.server.inference import Inference
from modelport_tfserving.server.servable import LoadSettings, Servable, load_servable
from modelport_tfserving.server.warmup import run_warmup

_log = logging.getLogger(__name__)
PARAMETERS_FILE = "batching_params.pbtxt"


@dataclass(frozen=True, kw_only=True)
class Loader:
    """Loads versions; without a scheduler there is no batching, with 0 iterations no warm-up.

    With `batching_per_model`, a version is batched as the file in its directory says, and not without one.
    """

    settings: LoadSettings
    inference: Inference
    scheduler: BatchScheduler | None
    warmup_iterations: int
    batching_per_model: bool = False

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
        try:
            self._batch(servable, path)
            if self.warmup_iterations:
                run_warmup(servable, path, self.inference, self.warmup_iterations)
        except Exception:
            servable.close()
            raise
        return servable

    def _batch(self, servable: Servable, path: Path) -> None:
        if self.scheduler is None:
            return
        parameters = self.scheduler.parameters
        if self.batching_per_model:
            file = path / PARAMETERS_FILE
            if not file.is_file():
                _log.info("No %s in %s: its requests are not batched", PARAMETERS_FILE, path)
                return
            parameters = load_batching(file, parameters.threads)
        servable.run = self.scheduler.wrap(servable.run, parameters, _list_runs(servable))


def _list_runs(servable: Servable) -> frozenset[RunKind]:
    """Return the runs of the signatures as they are; with an output filter or several signatures none is batched."""
    return frozenset(
        (
            frozenset(info.name for info in signature.inputs.values()),
            frozenset(info.name for info in signature.outputs.values()),
        )
        for signature in servable.signatures.values()
    )
