"""The model in the form in which an artifact runs it: as it is, or as ONNX where the spec asks for ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from modelport.artifact import copied
from modelport.codefiles import collect_transform
from modelport.environment import plan_requirements
from modelport.errors import ConversionError
from modelport.model import Model

ONNX = "model.onnx"
#: Above this many bytes the weights go into a file beside the graph: a single file of ONNX ends at 2 GiB.
LARGEST = 1 << 30


def model_to_run(model: Model) -> Model:
    """Give what a backend that runs Python puts into its artifact.

    With ``serving.engine: onnx`` that is the model converted to ONNX, kept by digest, and an environment without the
    model's own framework. Answers are compared with that framework all the same.

    Raises:
        ConversionError: The model cannot be written as ONNX, or ONNX Runtime does not take it.
        MissingTool: What the conversion needs is not installed.
    """
    if model.spec.serving.engine == "native" or model.format == "onnx":
        return model
    from modelport.convert.products import product
    from modelport.convert.to_onnx import onnx_graph, route_to

    how = route_to(model, "onnx").describe()

    def make(folder: Path) -> None:
        import onnx

        graph = onnx_graph(model)
        if graph.ByteSize() > LARGEST:
            onnx.save(graph, folder / ONNX, save_as_external_data=True, location=f"{ONNX}.data")
        else:
            onnx.save(graph, folder / ONNX)
        _refuse_what_does_not_run(model, folder / ONNX)

    folder = product(model, "onnx", make)
    transform = collect_transform(model.spec.transform, model.root)
    beside = {} if transform is None else {n: p for n, p in transform.files.items() if p != transform.main}
    return replace(
        model,
        original=model,
        format="onnx",
        source=folder / ONNX,
        files={path.name: copied(path, label=how) for path in sorted(folder.glob(f"{ONNX}*"))},
        code={name: copied(path) for name, path in sorted(beside.items())},
        requirements=plan_requirements(
            "onnx",
            model.spec.environment.requirements,
            transform.packages if transform else (),
            device=model.spec.environment.device,
        ),
    )


def _refuse_what_does_not_run(model: Model, path: Path) -> None:
    """Load what was written: ONNX Runtime lacks kernels of some ops for some types."""
    from modelport.frameworks.onnx_trial import import_runtime

    onnxruntime = import_runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ConversionError(
            f"{model.source}: ONNX Runtime does not take the model converted to ONNX: {reason}. Where it "
            "lacks float64, declare the inputs as float32. Leave serving.engine out, and its framework runs it"
        ) from error


def engine_facts(model: Model) -> dict[str, str]:
    """Give what a plan says of a model that was converted; nothing of one that runs as it is."""
    if model.original is None:
        return {}
    return {"engine": f"ONNX Runtime, on {model.original.format} converted to ONNX"}
