"""The gRPC door: PredictionService and ModelService."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from modelport_tfserving.server.configs import plan_models
from modelport_tfserving.server.inference import (
    Inference,
    check_metadata_fields,
    describe_model,
    fill_model_spec,
    find_predict_signature,
)
from modelport_tfserving.server.manager import ModelManager, State
from modelport_tfserving.server.statuses import Code, ServingError, from_exception, invalid_argument, not_found
from modelport_tfserving.server.tensors import decode_tensor, fill_tensor

_log = logging.getLogger(__name__)
_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}
# gRPC reports "no deadline" as a time far away.
_FOREVER_S = 1e8


@dataclass(frozen=True, kw_only=True)
class Services:
    """The services' methods: each takes a request message and a gRPC context, and returns a response message."""

    manager: ModelManager
    inference: Inference
    as_content: bool = False

    def handlers(self) -> list[Any]:
        """Return gRPC's generic handlers for both services."""
        from tensorflow_serving.apis import (
            classification_pb2,
            get_model_metadata_pb2,
            get_model_status_pb2,
            inference_pb2,
            model_management_pb2,
            predict_pb2,
            regression_pb2,
        )

        services: dict[str, dict[str, tuple[Callable[[Any, Any], Any], Any]]] = {
            "tensorflow.serving.PredictionService": {
                "Predict": (self._predict, predict_pb2.PredictRequest),
                "Classify": (self._classify, classification_pb2.ClassificationRequest),
                "Regress": (self._regress, regression_pb2.RegressionRequest),
                "MultiInference": (self._multi_infer, inference_pb2.MultiInferenceRequest),
                "GetModelMetadata": (self._describe, get_model_metadata_pb2.GetModelMetadataRequest),
            },
            "tensorflow.serving.ModelService": {
                "GetModelStatus": (self._status, get_model_status_pb2.GetModelStatusRequest),
                "HandleReloadConfigRequest": (self._reload, model_management_pb2.ReloadConfigRequest),
            },
        }
        return [
            grpc.method_handlers_generic_handler(
                service, {name: self._handler(name, *entry) for name, entry in methods.items()}
            )
            for service, methods in services.items()
        ]

    def _handler(self, api: str, method: Callable[[Any, Any], Any], request_class: Any) -> Any:
        def answer(request: Any, context: Any) -> Any:
            started = time.perf_counter()
            code = Code.OK
            try:
                return method(request, context)
            except Exception as error:  # noqa: BLE001 (every failure is answered with its code)
                mended = from_exception(error)
                code = mended.code
                if not isinstance(error, ServingError) and code is Code.INTERNAL:
                    _log.error("%s failed: %s", api, mended, exc_info=error)
                context.abort(_GRPC_CODES[code], mended.message)
            finally:
                self._count(api, request, code, started)

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=request_class.FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )

    def _count(self, api: str, request: Any, code: Code, started: float) -> None:
        if api in {"Predict", "Classify", "Regress", "MultiInference"}:
            name = _model_name(request, api)
            metrics = self.inference.metrics
            metrics.request_count.add(name, code.name)
            metrics.request_latency.observe((time.perf_counter() - started) * 1e6, name, api, "GRPC")

    def _predict(self, request: Any, context: Any) -> Any:
        from tensorflow_serving.apis import predict_pb2

        response = predict_pb2.PredictResponse()
        _require_spec(request)
        with self.manager.hold(request.model_spec) as servable:
            signature_name = request.model_spec.signature_name
            find_predict_signature(servable, signature_name)  # That it is missing comes before what is sent to it.
            inputs = {alias: decode_tensor(proto, alias) for alias, proto in request.inputs.items()}
            outputs = self.inference.predict(
                servable, signature_name, inputs, request.output_filter, _deadline(context)
            )
            fill_model_spec(response.model_spec, servable, signature_name)
        for alias, array in outputs.items():
            fill_tensor(response.outputs[alias], array, as_content=self.as_content)
        return response

    def _classify(self, request: Any, context: Any) -> Any:
        from tensorflow_serving.apis import classification_pb2

        response = classification_pb2.ClassificationResponse()
        _require_spec(request)
        with self.manager.hold(request.model_spec) as servable:
            response.result.CopyFrom(self.inference.classify(servable, request, _deadline(context)))
            fill_model_spec(response.model_spec, servable, request.model_spec.signature_name)
        return response

    def _regress(self, request: Any, context: Any) -> Any:
        from tensorflow_serving.apis import regression_pb2

        response = regression_pb2.RegressionResponse()
        _require_spec(request)
        with self.manager.hold(request.model_spec) as servable:
            response.result.CopyFrom(self.inference.regress(servable, request, _deadline(context)))
            fill_model_spec(response.model_spec, servable, request.model_spec.signature_name)
        return response

    def _multi_infer(self, request: Any, context: Any) -> Any:
        if not request.tasks:
            raise invalid_argument("ModelSpec has no name specified. (The request has no tasks)")
        with self.manager.hold(request.tasks[0].model_spec) as servable:
            return self.inference.multi_infer(servable, request, _deadline(context))

    def _describe(self, request: Any, _context: Any) -> Any:
        _require_spec(request)
        check_metadata_fields(request.metadata_field)
        with self.manager.hold(request.model_spec) as servable:
            return describe_model(servable)

    def _status(self, request: Any, _context: Any) -> Any:
        _require_spec(request)
        return report_status(self.manager, request.model_spec)

    def _reload(self, request: Any, context: Any) -> Any:
        from tensorflow_serving.apis import model_management_pb2

        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid_argument(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported"
            )
        metrics = self.inference.metrics
        before = {name: metrics.read(name) for name in request.metric_names}
        self.manager.configure(plan_models(request.config), lambda: not context.is_active())
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        for name, value in before.items():
            response.metric.add(name=name, int64_value_increase=metrics.read(name) - value)
        return response


def _require_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")


def report_status(manager: ModelManager, spec: Any) -> Any:
    """Return the GetModelStatusResponse for a ModelSpec: one version, or all that have been seen.

    A version label is ignored, as the real server ignores it. Raises NOT_FOUND.
    """
    from tensorflow_serving.apis import get_model_status_pb2

    states: Mapping[int, tuple[State, ServingError | None]] = {
        number: (state, error) for number, state, error in manager.list_states(spec.name)
    }
    if spec.HasField("version"):
        number = spec.version.value
        if number not in states:
            raise not_found(f"Could not find version {number} of model {spec.name}")
        states = {number: states[number]}
    if not states:
        raise not_found(f"Could not find any versions of model {spec.name}")
    response = get_model_status_pb2.GetModelStatusResponse()
    for number, (state, error) in states.items():
        entry = response.model_version_status.add(version=number, state=state.value)
        entry.status.error_code = error.code.value if error else 0
        entry.status.error_message = error.message if error else ""
    return response


def _model_name(request: Any, api: str) -> str:
    if api != "MultiInference":
        return str(request.model_spec.name)
    return str(request.tasks[0].model_spec.name) if request.tasks else ""


def _deadline(context: Any) -> float | None:
    remaining = context.time_remaining()
    return None if remaining is None or remaining > _FOREVER_S else time.monotonic() + remaining
