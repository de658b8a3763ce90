"""The files of a TensorFlow Serving artifact, planned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelport.artifact import copied
from modelport.convert.to_onnx import route_to
from modelport.errors import SpecError
from modelport.plan import BuildPlan, Generated, PlannedFile
from modelport.samples import load_samples
from modelport_runtime.checking import check_inputs
from modelport_tfserving.commandline import render_flags
from modelport_tfserving.config import render_batching, render_models, render_monitoring
from modelport_tfserving.conversion import saved_model
from modelport_tfserving.options import TFServingOptions, check_labels
from modelport_tfserving.signatures import plan_signatures
from modelport_tfserving.versions import integer_version
from modelport_tfserving.warmup import render_warmup
from modelport_tfserving.wire import describe_rest_gap

if TYPE_CHECKING:
    from modelport.convert.graph_ends import ExampleSignature
    from modelport.convert.route import Route
    from modelport.model import Model

WARMUP_PATH = "assets.extra/tf_serving_warmup_requests"
NOT_SERVED = {".used", "fingerprint.pb"}


def plan_layout(model: Model, options: TFServingOptions) -> BuildPlan:
    """Plan every file.

    Raises:
        SpecError: A transform, a label or a batching that this server cannot honour.
        ConversionError: The model cannot become a SavedModel.
    """
    spec = model.spec
    refuse_transform(model)
    if spec.serving.batching is not None and not model.served.batched:
        raise SpecError(
            "serving.batching: requests are joined along the first axis, and not every input and output of this "
            f"model has a dynamic one ({_fixed(model)}). Remove batching, or export the model with a dynamic batch"
        )
    number = options.version or integer_version(spec.version)
    check_labels(options.labels, number, spec.version)
    route = route_to(model, "saved_model")
    signatures = plan_signatures(model, options.signatures)
    source = saved_model(model, signatures)
    return BuildPlan(
        backend="tfserving",
        model=model,
        files=(
            *_saved_model_files(source, f"models/{spec.name}/{number}", _label(route, changed=source != model.source)),
            *_warmup(model, options, f"models/{spec.name}/{number}"),
            _text(
                "models.config",
                render_models(spec.name, f"{options.base_path.rstrip('/')}/{spec.name}", number, options.labels),
            ),
            _text(
                "batching.config",
                render_batching(
                    spec.serving.batching,
                    options.num_batch_threads or spec.serving.workers,
                    options.max_enqueued_batches,
                ),
            ),
            _text("monitoring.config", render_monitoring()),
        ),
        facts={
            "version directory": f"{number} (from version {spec.version!r})",
            "route": route.describe(),
            **_describe_steps(model),
            **_describe_signatures(signatures),
            "start with": _command(model, options),
            "base path in models.config": f"{options.base_path.rstrip('/')}/{spec.name}, as in a container",
        },
        warnings=tuple(_warnings(model, options)),
    )


def _command(model: Model, options: TFServingOptions) -> str:
    """Give the whole command that starts the server where the artifact stands."""
    serving = model.spec.serving.model_dump(mode="json", exclude_none=True)
    labels = bool(options.labels)
    flags = render_flags(serving, labels=labels, rest=8501, grpc=8500, models="models.config", folder=".")
    return " ".join(("tensorflow_model_server", *flags))


def refuse_transform(model: Model) -> None:
    """Raise where Python code would have to run beside the model.

    Raises:
        SpecError: With the ways out.
    """
    if model.transform is not None:
        raise SpecError(
            f"transform: TensorFlow Serving runs no Python, so {model.transform.path.name} cannot run there. "
            "Three ways out: write it as preprocess and postprocess steps in the spec; put it into the model itself (a "
            "torch module or a scikit-learn pipeline around it); or serve it with --backend bentoml or torchserve"
        )


def _label(route: Route, *, changed: bool) -> str:
    """Say where the SavedModel's files come from; nothing where they are the user's own."""
    return route.describe() if route else "saved_model, with other ends" if changed else ""


def _describe_steps(model: Model) -> dict[str, str]:
    """Say what the graph does beside the model, for people."""
    sides = {"before the model": model.preprocess, "behind the model": model.postprocess}
    return {f"in the graph {side}": ", ".join(step.kind for step in steps) for side, steps in sides.items() if steps}


def _describe_signatures(signatures: Sequence[ExampleSignature]) -> dict[str, str]:
    """Say what Classify and Regress answer, for people."""
    return {
        f"signature {signature.method}": ", ".join(f"{key} from {name}" for key, name in signature.outputs.items())
        + (", classes from labels" if signature.labels else "")
        for signature in signatures
    }


def _saved_model_files(folder: Path, target: str, label: str) -> Iterator[PlannedFile]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in NOT_SERVED and name != WARMUP_PATH:
            yield PlannedFile(path=f"{target}/{name}", content=copied(path, label))


def _warmup(model: Model, options: TFServingOptions, target: str) -> Iterator[PlannedFile]:
    if model.samples is None or options.warmup_records == 0:
        return
    samples = load_samples(model.samples.path, model.served)
    count = min(samples.count, options.warmup_records)
    data = render_warmup(
        model.spec.name, (check_inputs(model.served.inputs, samples.request(i, i + 1)) for i in range(count))
    )
    origin = f"{count} warm-up records from {model.samples.path.name}"
    yield PlannedFile(path=f"{target}/{WARMUP_PATH}", content=Generated(data=data, origin=origin))


def _warnings(model: Model, options: TFServingOptions) -> Iterator[str]:
    yield from _without_batching(model, options)
    loose = [t for t in model.served.inputs if None in t.shape[1:]]
    if model.spec.serving.batching is not None and loose:
        yield (
            "serving.batching: TensorFlow Serving joins only what is equal in every size but the first, and "
            f"{loose[0]} has others that vary: concurrent requests of different sizes may be refused with "
            "FAILED_PRECONDITION. "
            "Pad them to one size before they are sent, or remove batching"
        )
    gap = describe_rest_gap((tensor.name, tensor.dtype) for tensor in (*model.served.inputs, *model.served.outputs))
    if gap:
        yield gap
    named = any(step.kind == "labels" for step in model.postprocess) or options.signatures.classify is not None
    if model.spec.labels and not named:
        yield "labels: TensorFlow Serving's answers hold no class names; they stand in artifact.json"
    yield from _left_to_the_server(model)


def _without_batching(model: Model, options: TFServingOptions) -> Iterator[str]:
    """Name the keys that act on batches alone, where there are none."""
    serving = model.spec.serving
    if serving.batching is not None:
        return
    if serving.workers > 1:
        yield "serving.workers: TensorFlow Serving is one process with a thread pool; used only with serving.batching"
    for key in sorted({"num_batch_threads", "max_enqueued_batches"} & options.model_fields_set):
        yield f"backends.tfserving.{key}: used only with serving.batching"


def _left_to_the_server(model: Model) -> Iterator[str]:
    """Name the keys that are for servers which run Python, or which the server does not let its artifact decide."""
    serving, environment = model.spec.serving, model.spec.environment
    if serving.engine == "onnx":
        yield "serving.engine: TensorFlow Serving runs TensorFlow graphs; onnx acts on the other servers alone"
    if "max_request_mb" in serving.model_fields_set:
        yield (
            "serving.max_request_mb: TensorFlow Serving has no limit on REST bodies, and may put its own gRPC limit "
            f"of 2 GiB before the {serving.max_request_mb} MiB that it is given; set one in the proxy in front of it"
        )
    if environment.requirements is not None:
        yield "environment.requirements: nothing is installed beside TensorFlow Serving"
    if environment.device == "cuda":
        yield (
            "environment.device: TensorFlow Serving computes on the GPUs that its build finds, and on the CPU where it "
            "finds none; cuda chooses the base of the image"
        )


def _fixed(model: Model) -> str:
    tensors = model.served.inputs + model.served.outputs
    return ", ".join(str(t) for t in tensors if not t.shape or t.shape[0] is not None)


def _text(path: str, text: str) -> PlannedFile:
    return PlannedFile(path=path, content=Generated(data=text.encode(), origin="the spec"))
