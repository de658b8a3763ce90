"""Decides which versions of which models are loaded, and lends the loaded ones to requests.

A new version is loaded while the old one serves; the old one is let go only when a wanted version is available, and
closed only when the last request on it has ended. A version that fails to load changes nothing for the others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from modelport_tfserving.server.configs import ModelConfig
from modelport_tfserving.server.servable import Servable
from modelport_tfserving.server.statuses import (
    Code,
    ServingError,
    failed_precondition,
    from_exception,
    invalid_argument,
    not_found,
)
from modelport_tfserving.server.versions import choose_versions, has_model, list_versions

_log = logging.getLogger(__name__)


class State(IntEnum):
    """Where a version is in its life, by the numbers of `ModelVersionStatus.State`."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True, kw_only=True)
class ManagerSettings:
    """How the manager loads; the retries come after the first try, the interval is in seconds."""

    max_num_load_retries: int = 5
    load_retry_interval: float = 60.0
    num_load_threads: int = 1
    allow_unavailable_labels: bool = False


@dataclass
class _Version:
    """One version that has been seen: it stays listed after its end, with the error it ended by."""

    name: str
    number: int
    path: Path
    state: State = State.START
    error: ServingError | None = None
    servable: Servable | None = None
    wanted: bool = True

    def __str__(self) -> str:
        return f"{{name: {self.name} version: {self.number}}}"


class ModelManager:
    """The models that are configured, their versions, and the labels that name some of them."""

    def __init__(self, load: Callable[[str, int, Path], Servable], settings: ManagerSettings) -> None:
        self._load = load
        self._settings = settings
        self._models: dict[str, ModelConfig] = {}
        self._versions: dict[str, dict[int, _Version]] = {}
        self._labels: dict[str, dict[str, int]] = {}
        self._changed = threading.Condition()
        self._configuring = threading.Lock()
        self._stopping = False
        self._loaders = ThreadPoolExecutor(max(1, settings.num_load_threads), "load")

    # What requests need.

    @contextmanager
    def hold(self, spec: Any) -> Iterator[Servable]:
        """Lend the servable that a request's ModelSpec names; it stays loaded inside the `with`.

        Raises NOT_FOUND for a model or version that is not available, INVALID_ARGUMENT for an unknown label.
        """
        with self._changed:
            servable = self._find(spec)
            servable.acquire()
        try:
            yield servable
        finally:
            servable.release()

    def _find(self, spec: Any) -> Servable:
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        versions = self._versions.get(spec.name, {})
        match spec.WhichOneof("version_choice"):
            case "version":
                number = spec.version.value
            case "version_label":
                found = self._labels.get(spec.name, {}).get(spec.version_label)
                if found is None:
                    raise invalid_argument(f"Unrecognized servable version label: {spec.version_label}")
                number = found
            case _:
                number = max(
                    (number for number, version in versions.items() if version.state is State.AVAILABLE),
                    default=None,
                )
                if number is None:
                    raise not_found(f"Servable not found for request: Latest({spec.name})")
        version = versions.get(number)
        if version is None or version.state is not State.AVAILABLE or version.servable is None:
            raise not_found(f"Servable not found for request: Specific({spec.name}, {number})")
        return version.servable

    def list_states(self, name: str) -> list[tuple[int, State, ServingError | None]]:
        """Return every version of a model that has been seen, the highest first; empty for an unknown model."""
        with self._changed:
            versions = self._versions.get(name, {})
            return [(number, versions[number].state, versions[number].error) for number in sorted(versions)][::-1]

    # What the configuration needs.

    def configure(self, models: Iterable[ModelConfig] | None, cancelled: Callable[[], bool]) -> None:
        """Replace the configuration, and wait until each model that it adds has an available version.

        A model that it leaves out is unloaded; None, an empty message, changes nothing. `cancelled` ends the
        waiting. Raises FAILED_PRECONDITION for a label on a version that is not available (nothing is changed
        then), UNKNOWN when a new model cannot be loaded.
        """
        if models is None:
            _log.info("Taking no action for empty config.")
            return
        while not self._configuring.acquire(timeout=0.2):
            if cancelled():
                raise ServingError(Code.CANCELLED, "given up while another configuration was being loaded")
        try:
            wanted = {model.name: model for model in models}
            with self._changed:
                self._labels = self._plan_labels(wanted.values())
                added = wanted.keys() - self._models.keys()
                renewed = [name for name in wanted if wanted[name] != self._models.get(name)]
                self._models = wanted
            for name in renewed:
                _log.info(" (Re-)adding model: %s", name)
            self.poll()
            self._await_available(added, cancelled)
        finally:
            self._configuring.release()

    def _plan_labels(self, models: Iterable[ModelConfig]) -> dict[str, dict[str, int]]:
        planned: dict[str, dict[str, int]] = {}
        for model in models:
            known = self._labels.get(model.name, {})
            for label, number in model.labels:
                version = self._versions.get(model.name, {}).get(number)
                available = version is not None and version.state is State.AVAILABLE
                moved = known.get(label, number) != number
                if not available and (moved or not self._settings.allow_unavailable_labels):
                    raise failed_precondition(
                        f"Request to assign label to version {number} of model {model.name}, which is not "
                        "currently available for inference"
                    )
                planned.setdefault(model.name, {})[label] = number
        return planned

    def _await_available(self, names: Iterable[str], cancelled: Callable[[], bool]) -> None:
        pending = set(names)
        with self._changed:
            while True:
                pending = {name for name in pending if not self._is_available(name)}
                failed = [
                    version
                    for name in sorted(pending)
                    for version in self._versions.get(name, {}).values()
                    if version.error is not None
                ]
                settled = {
                    name
                    for name in pending
                    if (versions := self._versions.get(name))
                    and all(version.state is State.END for version in versions.values())
                }
                if not pending:
                    return
                if settled:
                    reasons = "".join(f"{{{version} due to error: {version.error}}}, " for version in failed)
                    raise ServingError(Code.UNKNOWN, f"{len(settled)} model(s) did not become available: {{{reasons}}}")
                if cancelled() or self._stopping:
                    waiting = ", ".join(sorted(pending))
                    raise ServingError(Code.CANCELLED, f"given up waiting for models to load: {waiting}")
                self._changed.wait(0.2)

    def _is_available(self, name: str) -> bool:
        return any(version.state is State.AVAILABLE for version in self._versions.get(name, {}).values())

    # What the file system brings.

    def poll(self) -> None:
        """Look at every model's directory once: start loading what is new, let go what is not wanted any more."""
        with self._changed:
            models = dict(self._models)
            forgotten = self._versions.keys() - models.keys()
        wanted: dict[str, dict[int, Path]] = {name: {} for name in forgotten}
        for model in models.values():
            try:
                found = list_versions(model.base_path)
            except OSError as error:
                _log.warning(
                    "Could not find base path %s for servable %s: %s",
                    model.base_path,
                    model.name,
                    error.strerror,
                )
                continue
            wanted[model.name] = choose_versions(model, found)
            if not wanted[model.name]:
                _log.warning(
                    "No versions of servable %s found under base path %s. Did you forget to name your leaf "
                    "directory as a number (eg. '/1/')?",
                    model.name,
                    model.base_path,
                )
        with self._changed:
            for name, paths in wanted.items():
                self._want(name, paths)

    def _want(self, name: str, paths: dict[int, Path]) -> None:
        versions = self._versions.setdefault(name, {})
        for version in versions.values():
            version.wanted = version.wanted and version.number in paths
        for number, path in paths.items():
            known = versions.get(number)
            if known is None or (known.state is State.END and not known.wanted):
                versions[number] = _Version(name, number, path)
                self._loaders.submit(self._try_load, versions[number], 1)
            elif not known.wanted and known.state is not State.UNLOADING:
                known.wanted = True
        self._release_unwanted(name)
        if not versions:
            del self._versions[name]

    def _release_unwanted(self, name: str) -> None:
        versions = self._versions[name].values()
        wanted = [version for version in versions if version.wanted]
        if wanted and not any(version.state is State.AVAILABLE for version in wanted):
            return
        for version in versions:
            if not version.wanted and version.state is State.AVAILABLE:
                version.state = State.UNLOADING
                _log.info("Quiescing servable version %s", version)
                threading.Thread(target=self._unload, args=(version,), name="unload", daemon=True).start()

    def _unload(self, version: _Version) -> None:
        if version.servable is not None:
            version.servable.close()
        with self._changed:
            version.servable = None
            version.state = State.END
            self._changed.notify_all()
        _log.info("Done unloading servable version %s", version)

    def _try_load(self, version: _Version, attempt: int) -> None:
        with self._changed:
            if self._gave_up(version):
                return
            version.state = State.LOADING
        if attempt == 1:
            _log.info("Loading servable version %s", version)
        half_copied = not has_model(version.path)
        try:
            servable = self._load(version.name, version.number, version.path)
        except Exception as error:  # noqa: BLE001 (whatever a model raises is its state, not this thread's end)
            self._fail(version, attempt, from_exception(error), half_copied=half_copied)
            return
        with self._changed:
            version.servable = servable
            version.state = State.AVAILABLE
            _log.info("Successfully loaded servable version %s", version)
            self._release_unwanted(version.name)
            self._changed.notify_all()

    def _gave_up(self, version: _Version) -> bool:
        if version.wanted and not self._stopping:
            return False
        version.state = State.END
        self._changed.notify_all()
        return True

    def _fail(self, version: _Version, attempt: int, error: ServingError, *, half_copied: bool) -> None:
        _log.error("Loading servable: %s failed: %s", version, error)
        if attempt > self._settings.max_num_load_retries:
            with self._changed:
                version.state = State.END
                version.error = error
                self._changed.notify_all()
            return
        threading.Thread(target=self._retry, args=(version, attempt, half_copied), name="retry", daemon=True).start()

    def _retry(self, version: _Version, attempt: int, half_copied: bool) -> None:
        """Wait for the next try: the interval, or until the model of a half-copied version is there."""

        def is_due() -> bool:
            arrived = half_copied and has_model(version.path)
            return arrived or not version.wanted or self._stopping

        due = time.monotonic() + self._settings.load_retry_interval
        with self._changed:
            while (remaining := due - time.monotonic()) > 0 and not is_due():
                self._changed.wait(min(0.2, remaining))
            if self._gave_up(version):
                return
        _log.info("Retrying of loading servable: %s retry: %d", version, attempt)
        self._loaders.submit(self._try_load, version, attempt + 1)

    def stop(self) -> None:
        """Start nothing more; what waits for a model gives up."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._loaders.shutdown(wait=False, cancel_futures=True)
