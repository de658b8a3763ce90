"""One loaded version of a model: its signatures, and what runs them by tensor name."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from modelport_tfserving.server.statuses import Code, ServingError, from_exception, invalid_argument, not_found
from modelport_tfserving.server.tensors import Array
from modelport_tfserving.server.tflite import load_tflite
from modelport_tfserving.server.versions import TFLITE_FILE, has_saved_model
from modelport_tfserving.server.xla import find_xla_signatures

_log = logging.getLogger(__name__)
DEFAULT_SIGNATURE = "serving_default"


class Runner(Protocol):
    """What runs feeds to fetches: a session, or a queue in front of one."""

    def __call__(self, feeds: Mapping[str, Array], fetches: Sequence[str], deadline: float | None) -> list[Array]:
        """Return the fetched tensors, in the order of `fetches` (names of graph tensors, each once).

        `deadline` is a time of `time.monotonic()`; past it, DEADLINE_EXCEEDED is raised.
        """


@dataclass(frozen=True, kw_only=True)
class LoadSettings:
    """What loading needs besides a path: graph tags, a ConfigProto, whether XLA may compile, and how to run TFLite."""

    tags: tuple[str, ...]
    session_config: Any
    allow_xla: bool
    prefer_tflite: bool = False
    tflite_interpreters: int = 1


class SessionRunner:
    """Runs a graph's tensors by name, as the C++ server does: no conversion of what is fed."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._outputs: dict[str, Any] = {}

    def __call__(self, feeds: Mapping[str, Array], fetches: Sequence[str], deadline: float | None) -> list[Array]:
        """Run the graph; TensorFlow's errors come as `ServingError` with their own code and text."""
        feed_dict = {self._output(name): array for name, array in feeds.items()}
        fetch_list = [self._output(name) for name in fetches]
        options = _timeout_options(deadline)
        try:
            # Session.run would cast feeds and check them against static shapes, which the real server never does.
            results = self._session._call_tf_sessionrun(options, feed_dict, fetch_list, [], None)  # noqa: SLF001
        except Exception as error:
            raise from_exception(error) from error
        finally:
            _free_options(options)
        return list(results)

    def _output(self, name: str) -> Any:
        found = self._outputs.get(name)
        if found is None:
            try:
                tensor = self._session.graph.get_tensor_by_name(name)
            except (KeyError, ValueError) as error:
                raise invalid_argument(
                    f'the signature names the tensor "{name}", which the graph does not have: {error}'
                ) from None
            found = tensor._as_tf_output()  # noqa: SLF001 (the handle that the call above takes)
            self._outputs[name] = found
        return found


def _timeout_options(deadline: float | None) -> Any:
    if deadline is None:
        return None
    remaining_ms = int((deadline - time.monotonic()) * 1000)
    if remaining_ms <= 0:
        raise ServingError(Code.DEADLINE_EXCEEDED, "the deadline passed before the model ran")
    from tensorflow.core.protobuf import config_pb2
    from tensorflow.python.client import pywrap_tf_session

    serialized = config_pb2.RunOptions(timeout_in_ms=remaining_ms).SerializeToString()
    return pywrap_tf_session.TF_NewBufferFromString(serialized)


def _free_options(options: Any) -> None:
    if options is not None:
        from tensorflow.python.client import pywrap_tf_session

        pywrap_tf_session.TF_DeleteBuffer(options)


class Servable:
    """One version of one model, loaded; requests hold it with `acquire` and `release` while they use it."""

    def __init__(
        self,
        *,
        name: str,
        version: int,
        signatures: Mapping[str, Any],
        runner: Runner,
        free: Callable[[], None],
        xla: frozenset[str] = frozenset(),
    ) -> None:
        self.name = name
        self.version = version
        self.signatures = signatures
        self.run: Runner = runner
        self.needs_xla = xla
        self._free = free
        self._users = 0
        self._idle = threading.Condition()

    def acquire(self) -> None:
        """Count one request more; a servable is not closed while requests hold it."""
        with self._idle:
            self._users += 1

    def release(self) -> None:
        """Count one request less."""
        with self._idle:
            self._users -= 1
            self._idle.notify_all()

    def close(self) -> None:
        """Wait for the requests that hold this servable, then free what it holds."""
        with self._idle:
            self._idle.wait_for(lambda: self._users == 0)
        self._free()


def load_servable(name: str, version: int, path: Path, settings: LoadSettings) -> Servable:
    """Load a version directory: a SavedModel of TensorFlow 1 or 2, or a TensorFlow Lite model where that is preferred.

    Raises `ServingError`: NOT_FOUND where there is no SavedModel (yet) or none with the tags, UNIMPLEMENTED for the
    format before SavedModel, else what TensorFlow says about it.
    """
    if settings.prefer_tflite and (path / TFLITE_FILE).is_file():
        signatures, runner = load_tflite(path / TFLITE_FILE, settings.tflite_interpreters)
        return Servable(name=name, version=version, signatures=signatures, runner=runner, free=runner.close)
    if (path / "export.meta").is_file():
        raise ServingError(Code.UNIMPLEMENTED, "Session Bundle is deprecated and removed.")
    if not has_saved_model(path):
        raise not_found(
            "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
            f"`saved_model.pb`)\nSpecified file path: {path}"
        )
    return _load_saved_model(name, version, path, settings)


def _load_saved_model(name: str, version: int, path: Path, settings: LoadSettings) -> Servable:
    import tensorflow as tf

    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph, config=settings.session_config)
    try:
        with graph.as_default():
            meta_graph = tf.compat.v1.saved_model.loader.load(session, list(settings.tags), str(path))
    except Exception as error:
        session.close()
        if isinstance(error, RuntimeError) and "MetaGraphDef" in str(error):
            raise not_found(str(error)) from error
        raise from_exception(error) from error
    graph.finalize()
    return Servable(
        name=name,
        version=version,
        signatures=dict(meta_graph.signature_def),
        runner=SessionRunner(session),
        free=session.close,
        xla=frozenset() if settings.allow_xla else find_xla_signatures(graph, meta_graph),
    )
