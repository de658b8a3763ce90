"""The files of a TensorFlow Serving artifact, planned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from modelport.artifact import copied
from modelport.errors import SpecError
from modelport.plan import BuildPlan, Generated, PlannedFile
from modelport.samples import load_samples
from modelport_runtime.checking import check_inputs
from modelport_tfserving.config import render_batching, render_models, render_monitoring
from modelport_tfserving.conversion import route_for, saved_model
from modelport_tfserving.options import TFServingOptions, check_labels
from modelport_tfserving.versions import integer_version
from modelport_tfserving.warmup import render_warmup
from modelport_tfserving.wire import describe_rest_gap

if TYPE_CHECKING:
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
    if spec.serving.batching is not None and not model.signature.batched:
        raise SpecError(
            "serving.batching: requests are joined along the first axis, and not every input and output of this "
            f"model has a dynamic one ({_fixed(model)}). Remove batching, or export the model with a dynamic batch"
        )
    number = options.version or integer_version(spec.version)
    check_labels(options.labels, number, spec.version)
    route = route_for(model)
    return BuildPlan(
        backend="tfserving",
        model=model,
        files=(
            *_saved_model_files(saved_model(model), f"models/{spec.name}/{number}", route.describe() if route else ""),
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
            "start with": "tensorflow_model_server --port=8500 --rest_api_port=8501 --model_config_file=models.config"
            + (" --allow_version_labels_for_unavailable_models" if options.labels else "")
            + (" --enable_batching --batching_parameters_file=batching.config" if spec.serving.batching else "")
            + " --monitoring_config_file=monitoring.config",
            "base path in models.config": f"{options.base_path.rstrip('/')}/{spec.name}, as in a container",
        },
        warnings=tuple(_warnings(model)),
    )


def refuse_transform(model: Model) -> None:
    """Raise where Python code would have to run beside the model.

    Raises:
        SpecError: With the two ways out.
    """
    if model.transform is not None:
        raise SpecError(
            f"transform: TensorFlow Serving runs no Python, so {model.transform.path.name} cannot run there. Two ways "
            "out: put the pre- and postprocessing into the model itself (a torch module or a scikit-learn pipeline "
            "around it) and drop the key, or serve this spec with --backend bentoml or --backend torchserve"
        )


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
        model.spec.name, (check_inputs(model.signature.inputs, samples.request(i, i + 1)) for i in range(count))
    )
    origin = f"{count} warm-up records from {model.samples.path.name}"
    yield PlannedFile(path=f"{target}/{WARMUP_PATH}", content=Generated(data=data, origin=origin))


def _warnings(model: Model) -> Iterator[str]:
    serving = model.spec.serving
    given = serving.model_fields_set
    if serving.workers > 1 and serving.batching is None:
        yield "serving.workers: TensorFlow Serving is one process with a thread pool; used only with serving.batching"
    if "max_request_mb" in given:
        yield (
            "serving.max_request_mb: TensorFlow Serving has no limit on REST bodies, and may put its own gRPC limit "
            f"of 2 GiB before the {serving.max_request_mb} MiB that it is given; set one in the proxy in front of it"
        )
    loose = [t for t in model.signature.inputs if None in t.shape[1:]]
    if serving.batching is not None and loose:
        yield (
            "serving.batching: TensorFlow Serving joins only what is equal in every size but the first, and "
            f"{loose[0]} has others that vary: concurrent requests of different sizes may be refused with "
            "FAILED_PRECONDITION. "
            "Pad them to one size before they are sent, or remove batching"
        )
    gap = describe_rest_gap(
        (tensor.name, tensor.dtype) for tensor in (*model.signature.inputs, *model.signature.outputs)
    )
    if gap:
        yield gap
    if model.spec.labels:
        yield "labels: TensorFlow Serving's answers hold no class names; they stand in artifact.json"
    if model.spec.environment.requirements is not None:
        yield "environment.requirements: nothing is installed beside TensorFlow Serving"


def _fixed(model: Model) -> str:
    tensors = model.signature.inputs + model.signature.outputs
    return ", ".join(str(t) for t in tensors if not t.shape or t.shape[0] is not None)


def _text(path: str, text: str) -> PlannedFile:
    return PlannedFile(path=path, content=Generated(data=text.encode(), origin="the spec"))
