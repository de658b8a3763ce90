"""What the server does with a model: Predict on arrays, Classify, Regress and MultiInference on Examples, metadata.

Both doors, gRPC and REST, come here; the errors' codes and texts are the real server's.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelport_tfserving.server.examples import (
    CLASSIFY,
    PREDICT,
    REGRESS,
    ExamplePlan,
    check_task,
    plan_classify,
    plan_regress,
    serialize_examples,
)
from modelport_tfserving.server.metrics import Metrics
from modelport_tfserving.server.servable import DEFAULT_SIGNATURE, Servable
from modelport_tfserving.server.statuses import (
    Code,
    ServingError,
    failed_precondition,
    invalid_argument,
)
from modelport_tfserving.server.tensors import Array, decode_tensor


@dataclass(frozen=True, kw_only=True)
class Inference:
    """Runs requests on a servable; `check_method` is the flag --enable_signature_method_name_check."""

    metrics: Metrics
    check_method: bool = False

    def predict(
        self,
        servable: Servable,
        signature_name: str,
        inputs: Mapping[str, Array],
        output_filter: Sequence[str],
        deadline: float | None,
    ) -> dict[str, Array]:
        """Run a signature on named arrays; returns the outputs asked for, or all.

        Raises FAILED_PRECONDITION for an unknown signature, INVALID_ARGUMENT for inputs or outputs that it does
        not have, and what the model's run raises.
        """
        signature = find_predict_signature(servable, signature_name)
        if self.check_method and signature.method_name not in {PREDICT, CLASSIFY, REGRESS}:
            raise ServingError(
                Code.INTERNAL,
                f"Expected prediction signature method_name to be one of {{{PREDICT}, {CLASSIFY}, {REGRESS}}}. "
                f"Was: {signature.method_name}",
            )
        feeds = {signature.inputs[alias].name: array for alias, array in _complete_inputs(signature, inputs).items()}
        if len(feeds) < len(signature.inputs):
            raise invalid_argument("two inputs of the signature name the same tensor, which cannot be fed twice")
        aliases = _choose_outputs(signature, output_filter)
        names = {alias: signature.outputs[alias].name for alias in aliases}
        tensors = self._run(servable, signature_name, feeds, names.values(), deadline, "Predict")
        return {alias: tensors[name] for alias, name in names.items()}

    def classify(self, servable: Servable, request: Any, deadline: float | None) -> Any:
        """Answer a ClassificationRequest's Examples with a ClassificationResult."""
        name = request.model_spec.signature_name
        signature = self._find_example_signature(servable, name, CLASSIFY)
        plan = plan_classify(signature)
        examples = serialize_examples(request.input)
        tensors = self._run(servable, name, {plan.input: examples}, plan.outputs, deadline, "Classify")
        return plan.convert(tensors, len(examples))

    def regress(self, servable: Servable, request: Any, deadline: float | None) -> Any:
        """Answer a RegressionRequest's Examples with a RegressionResult."""
        name = request.model_spec.signature_name
        signature = self._find_example_signature(servable, name, REGRESS)
        plan = plan_regress(signature)
        examples = serialize_examples(request.input)
        tensors = self._run(servable, name, {plan.input: examples}, plan.outputs, deadline, "Regress")
        return plan.convert(tensors, len(examples))

    def multi_infer(self, servable: Servable, request: Any, deadline: float | None) -> Any:
        """Answer several classify and regress tasks on the same Examples with one run of the model."""
        from tensorflow_serving.apis import inference_pb2

        plans: dict[str, ExamplePlan] = {}
        for task in request.tasks:
            check_task(task, request.tasks[0].model_spec.name)
            name = task.model_spec.signature_name or DEFAULT_SIGNATURE
            if name in plans:
                raise invalid_argument(f"Duplicate evaluation of signature: {name}")
            if name not in servable.signatures:
                raise invalid_argument(f"Requested signature not found in model graph: {name}")
            self._check_method(servable.signatures[name], task.method_name)
            make_plan = plan_classify if task.method_name == CLASSIFY else plan_regress
            plans[name] = make_plan(servable.signatures[name])
        examples = serialize_examples(request.input)
        feeds = {plan.input: examples for plan in plans.values()}
        fetches = [name for plan in plans.values() for name in plan.outputs]
        tensors = self._run(servable, next(iter(plans)), feeds, fetches, deadline, "MultiInference")
        response = inference_pb2.MultiInferenceResponse()
        for task, (name, plan) in zip(request.tasks, plans.items(), strict=True):
            result = response.results.add()
            answer = plan.convert(tensors, len(examples))
            (result.classification_result if task.method_name == CLASSIFY else result.regression_result).CopyFrom(
                answer
            )
            fill_model_spec(result.model_spec, servable, name)
        return response

    def _find_example_signature(self, servable: Servable, name: str, method: str) -> Any:
        found = servable.signatures.get(name or DEFAULT_SIGNATURE)
        if found is None:
            raise invalid_argument(f"No signature was found with the name: {name or DEFAULT_SIGNATURE}")
        self._check_method(found, method)
        return found

    def _check_method(self, signature: Any, method: str) -> None:
        if self.check_method and signature.method_name != method:
            kind = "classification" if method == CLASSIFY else "regression"
            raise invalid_argument(
                f"Expected {kind} signature method_name to be {method}. Was: {signature.method_name}"
            )

    def _run(
        self,
        servable: Servable,
        signature_name: str,
        feeds: Mapping[str, Array],
        fetches: Iterable[str],
        deadline: float | None,
        api: str,
    ) -> dict[str, Array]:
        """Run the graph; returns the tensors by name. Two aliases may share one tensor."""
        if (signature_name or DEFAULT_SIGNATURE) in servable.needs_xla:
            raise ServingError(
                Code.INTERNAL,
                "XLA compilation disabled: this signature needs it, and tensorflow_model_server runs without it "
                "unless it is started with --xla_cpu_compilation_enabled=true",
            )
        names = sorted(set(fetches))
        started = time.perf_counter()
        results = servable.run(feeds, names, deadline)
        self.metrics.runtime_latency.observe((time.perf_counter() - started) * 1e6, servable.name, api, "TF1")
        self.metrics.graph_runs.add()
        return dict(zip(names, results, strict=True))


def find_predict_signature(servable: Servable, name: str) -> Any:
    """Return the SignatureDef that Predict is to run; FAILED_PRECONDITION where the model has none of that name."""
    found = servable.signatures.get(name or DEFAULT_SIGNATURE)
    if found is None:
        raise failed_precondition(f'Serving signature key "{name or DEFAULT_SIGNATURE}" not found.')
    return found


def fill_model_spec(spec: Any, servable: Servable, signature_name: str) -> None:
    """Write into a response's ModelSpec who answered."""
    spec.name = servable.name
    spec.version.value = servable.version
    spec.signature_name = signature_name or DEFAULT_SIGNATURE


def check_metadata_fields(fields: Sequence[str]) -> None:
    """Refuse a request for metadata other than the SignatureDefs, the one field there is, or for none."""
    if not fields:
        raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
    for field in fields:
        if field != "signature_def":
            raise invalid_argument(f"Metadata field {field} is not supported")


def describe_model(servable: Servable) -> Any:
    """Return the GetModelMetadataResponse of a servable: its SignatureDefs."""
    from tensorflow_serving.apis import get_model_metadata_pb2

    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in servable.signatures.items():
        signatures.signature_def[name].CopyFrom(signature)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = servable.name
    response.model_spec.version.value = servable.version
    response.metadata["signature_def"].Pack(signatures)
    return response


def _complete_inputs(signature: Any, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return an array for every input of the signature: the one that was sent, or the signature's default."""
    sent, expected = set(inputs), set(signature.inputs)
    if len(sent) > len(expected) or (len(sent) < len(expected) and not signature.defaults):
        raise invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(expected)} len({_braced(sent)}) != "
            f"len({_braced(expected)}). Sent extra: {_braced(sent - expected)}. "
            f"Missing but required: {_braced(expected - sent)}."
        )
    missing = sorted(expected - sent - set(signature.defaults))
    if missing:
        raise invalid_argument(
            f"Signature input alias: {missing[0]}(feed name: {signature.inputs[missing[0]].name}) not found in request "
            f"and no default value provided. Inputs expected to be in the request {_braced(sent)}, or default input "
            f"alias set: {_listed(signature.defaults)}"
        )
    if sent - expected:
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {_listed(sent & expected)}, request input: "
            f"{_listed(sent)}"
        )
    defaults = {alias: decode_tensor(signature.defaults[alias], alias) for alias in expected - sent}
    return defaults | dict(inputs)


def _choose_outputs(signature: Any, output_filter: Sequence[str]) -> Sequence[str]:
    seen: set[str] = set()
    for alias in output_filter:
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{_braced(signature.outputs)}."
            )
        if alias in seen:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
        seen.add(alias)
    return output_filter or sorted(signature.outputs)


def _braced(names: Iterable[str]) -> str:
    return f"{{{_listed(names)}}}"


def _listed(names: Iterable[str]) -> str:
    return ",".join(sorted(names))
