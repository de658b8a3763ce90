"""The REST door: TensorFlow Serving's paths, from a request's bytes to an answer's."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from modelport_tfserving.server.httpd import Request, Response
from modelport_tfserving.server.inference import Inference, describe_model
from modelport_tfserving.server.json_answers import (
    render_classes,
    render_error,
    render_metadata,
    render_outputs,
    render_regressions,
    render_status,
)
from modelport_tfserving.server.json_examples import fill_examples
from modelport_tfserving.server.json_numbers import load_document
from modelport_tfserving.server.json_requests import parse_object, read_inputs, read_signature_name
from modelport_tfserving.server.manager import ModelManager
from modelport_tfserving.server.rpc import report_status
from modelport_tfserving.server.servable import DEFAULT_SIGNATURE
from modelport_tfserving.server.statuses import Code, ServingError, from_exception, http_status, invalid_argument
from modelport_tfserving.server.versions import MAX_VERSION

_log = logging.getLogger(__name__)
_WHICH = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_INFERENCE = re.compile(
    rf"(?i)/v1/models/(?P<name>[^/:]+){_WHICH}:(?-i:(?P<method>classify|regress|predict))", re.ASCII
)
_MODEL = re.compile(rf"(?i)/v1/models(?:/(?P<name>[^/:]+))?{_WHICH}(?P<metadata>/metadata)?", re.ASCII)
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}


@dataclass(frozen=True, kw_only=True)
class RestHandler:
    """Answers HTTP requests; `timeout` in seconds (0: none), `metrics_path` None where there are no metrics."""

    manager: ModelManager
    inference: Inference
    timeout: float
    metrics_path: str | None = None
    cors: bool = False

    def __call__(self, request: Request) -> Response:
        """Return the answer to a request; every failure is a status and a JSON body with its text."""
        if self.metrics_path is not None and request.path.partition("?")[0] == self.metrics_path:
            return self._answer_metrics(request.path)
        if not request.path.lower().startswith("/v1/"):
            return Response(404, render_error(f"Not found: {request.path}"), {"Content-Type": "application/json"})
        if self.cors and request.method == "OPTIONS":
            return _answer_preflight(request)
        code, body = self._answer(request)
        headers = {"Content-Type": "application/json"} | (_CORS if self.cors else {})
        return Response(http_status(code), body, headers)

    def _answer_metrics(self, path: str) -> Response:
        status, text = 200, self.inference.metrics.render()
        if path != self.metrics_path:
            status, text = 400, f"Unexpected path: {path}. Should be {self.metrics_path}"
        return Response(status, text.encode("utf-8", "replace"), {"Content-Type": "text/plain"})

    def _answer(self, request: Request) -> tuple[Code, bytes]:
        started = time.perf_counter()
        code, name, method = Code.OK, "", ""
        try:
            parts = _match_path(request)
            name, method = unquote(parts["name"] or ""), parts.get("method") or ""
            spec = _model_spec(name, parts["version"], unquote(parts["label"] or ""))
            body = self._infer(method, spec, request.body) if method else self._inform(spec, parts["metadata"])
        except Exception as error:  # noqa: BLE001 (every failure is answered with its code)
            mended = from_exception(error)
            code = mended.code
            if not isinstance(error, ServingError) and code is Code.INTERNAL:
                _log.error("%s %s failed: %s", request.method, request.path, mended, exc_info=error)
            body = render_error(mended.message)
        if method:
            metrics = self.inference.metrics
            metrics.request_count.add(name, code.name)
            metrics.request_latency.observe((time.perf_counter() - started) * 1e6, name, method, "REST")
        return code, body

    def _infer(self, method: str, spec: Any, body: bytes) -> bytes:
        answer: Callable[[Any, bytes, float | None], bytes] = {
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
        }[method]
        return answer(spec, body, time.monotonic() + self.timeout if self.timeout > 0 else None)

    def _inform(self, spec: Any, metadata: str | None) -> bytes:
        if not spec.name:
            raise invalid_argument("Missing model name in request.")
        if not metadata:
            return render_status(report_status(self.manager, spec))
        with self.manager.hold(spec) as servable:
            return render_metadata(describe_model(servable))

    def _predict(self, spec: Any, body: bytes, deadline: float | None) -> bytes:
        document = parse_object(body, load=load_document)
        signature_name = read_signature_name(document)
        with self.manager.hold(spec) as servable:
            signature = servable.signatures.get(signature_name or DEFAULT_SIGNATURE)
            if signature is None:
                raise invalid_argument(
                    f'Serving signature name: "{signature_name or DEFAULT_SIGNATURE}" not found in signature def'
                )
            if not signature.inputs:
                raise invalid_argument(f"Failed to get input map for signature: {signature_name or 'DEFAULT'}")
            inputs, rows = read_inputs(document, {alias: info.dtype for alias, info in signature.inputs.items()})
            outputs = self.inference.predict(servable, signature_name, inputs, (), deadline)
        return render_outputs(outputs, rows=rows)

    def _classify(self, spec: Any, body: bytes, deadline: float | None) -> bytes:
        from tensorflow_serving.apis import classification_pb2

        request = _example_request(classification_pb2.ClassificationRequest(), spec, body)
        with self.manager.hold(spec) as servable:
            return render_classes(self.inference.classify(servable, request, deadline))

    def _regress(self, spec: Any, body: bytes, deadline: float | None) -> bytes:
        from tensorflow_serving.apis import regression_pb2

        request = _example_request(regression_pb2.RegressionRequest(), spec, body)
        with self.manager.hold(spec) as servable:
            return render_regressions(self.inference.regress(servable, request, deadline))


def _answer_preflight(request: Request) -> Response:
    """Answer what a browser asks before it lets a page of another origin send a request."""
    if re.search("https?://", request.headers.get("origin", "")):
        return Response(200, b"", _CORS)
    body = render_error("Origin header is missing in CORS preflight")
    return Response(400, body, {"Content-Type": "application/json"} | _CORS)


def _match_path(request: Request) -> dict[str, str | None]:
    pattern = {"POST": _INFERENCE, "GET": _MODEL}.get(request.method)
    match = pattern.fullmatch(request.path) if pattern else None
    if match is None:
        raise invalid_argument(f"Malformed request: {request.method} {request.path}")
    return match.groupdict()


def _model_spec(name: str, version: str | None, label: str) -> Any:
    from tensorflow_serving.apis import model_pb2

    spec = model_pb2.ModelSpec(name=name)
    if version:
        if len(version.lstrip("0")) > len(str(MAX_VERSION)) or int(version) > MAX_VERSION:
            raise invalid_argument(f"Failed to convert version: {version} to numeric.")
        spec.version.value = int(version)
    if label:
        spec.version_label = label
    return spec


def _example_request(request: Any, spec: Any, body: bytes) -> Any:
    document = parse_object(body)
    request.model_spec.CopyFrom(spec)
    request.model_spec.signature_name = read_signature_name(document)
    fill_examples(document, request.input)
    return request
