"""New ends for a finished SavedModel: steps before and behind its signature, and signatures over ``tf.Example``.

The SavedModel may come from anywhere, so it is not loaded: small graphs are built beside it, and their nodes are added
to its GraphDef. What a small graph takes stands in it as a placeholder; joined, it becomes an Identity of the tensor
that it stands for. In the same way the model's own input placeholder becomes an Identity of what preprocessing gives,
so that whatever reads it stays as it is. A request may still feed that Identity itself, which is how Predict and
Classify share one graph.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.saved_model import check_graph
from modelport.convert.steps_to_tf import TensorFlowOps
from modelport.errors import ConversionError
from modelport_runtime.signature import Signature, TensorSpec
from modelport_runtime.steps import Step, apply_steps

Tensor = Any  # a tf.Tensor; TensorFlow has no types to check against
Build = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]

DEFAULT = "serving_default"
PREFIX = "tensorflow/serving/"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleSignature:
    """A signature that takes serialized ``tf.Example`` and gives what TensorFlow Serving's own methods ask for.

    Attributes:
        method: ``classify`` or ``regress``; the signature's key too.
        outputs: The served output behind each of the signature's outputs: ``classes`` and ``scores``, or ``outputs``.
        labels: Names of all classes, for ``classes`` where no output holds them; else empty.
    """

    method: str
    outputs: Mapping[str, str]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """What is added to a SavedModel.

    Attributes:
        preprocess: Steps from what requests hold to what the model takes.
        postprocess: Steps from what the model gives to what answers hold.
        model: What the model takes and gives.
        served: What requests and answers hold.
        examples: Further signatures, over what is served.
    """

    preprocess: tuple[Step, ...]
    postprocess: tuple[Step, ...]
    model: Signature
    served: Signature
    examples: tuple[ExampleSignature, ...]


def add_ends(source: Path, destination: Path, ends: Ends) -> None:
    """Write a copy of the SavedModel in ``source`` that has other ends.

    Args:
        source: Folder of a SavedModel whose graph with the tag ``serve`` has the signature ``serving_default``.
        destination: An empty folder.
        ends: What is added.

    Raises:
        ConversionError: The model is fed in the middle of its graph, or already has a signature of that name.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    _copy_files(source, destination)
    file = destination / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    meta = next(graph for graph in saved.meta_graphs if "serve" in graph.meta_info_def.tags)
    # Python's loader would take the signatures from there, where they are without the steps.
    meta.ClearField("object_graph_def")
    joint = _Joint(meta)
    if ends.preprocess:
        joint.precede(_applied(ends.preprocess, ends.model.inputs), ends.served.inputs)
    if ends.postprocess:
        joint.follow(_applied(ends.postprocess, ends.served.outputs), ends.model.outputs)
    if ends.examples:
        joint.read_examples(ends.served, ends.examples)
    file.write_bytes(saved.SerializeToString(deterministic=True))


def _copy_files(source: Path, destination: Path) -> None:
    """Copy all files but the fingerprint, which is that of the graph as it was; modes are not taken over."""
    for path in (path for path in source.rglob("*") if path.is_file() and path.name != "fingerprint.pb"):
        target = destination / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _applied(steps: Sequence[Step], wanted: Sequence[TensorSpec]) -> Build:
    def build(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        made = apply_steps(steps, given, TensorFlowOps())
        return {tensor.name: made[tensor.name] for tensor in wanted}

    return build


class _Joint:
    """One MetaGraphDef that grows new ends."""

    def __init__(self, meta: Any) -> None:
        self._meta = meta
        self._default = meta.signature_def[DEFAULT]
        taken = {node.name.partition("/")[0] for node in meta.graph_def.node}
        self._scope = next(name for name in map("modelport_{}".format, range(len(taken) + 1)) if name not in taken)

    def precede(self, build: Build, inputs: Sequence[TensorSpec]) -> None:
        """Put a graph before the signature's inputs; the signature takes ``inputs`` from then on."""
        made = self._grow("before", inputs, build)
        for name, info in self._default.inputs.items():
            self._feed(info.name, made.outputs[name].name)
        _replace(self._default.inputs, made.inputs)

    def follow(self, build: Build, outputs: Sequence[TensorSpec]) -> None:
        """Put a graph behind the signature's ``outputs``; the signature gives that graph's from then on."""
        made = self._grow("behind", outputs, build)
        for name, info in made.inputs.items():
            self._feed(info.name, self._default.outputs[name].name)
        _replace(self._default.outputs, made.outputs)

    def read_examples(self, served: Signature, signatures: Sequence[ExampleSignature]) -> None:
        """Let the signature's inputs be parsed from Examples, and add signatures that take those."""
        for method in (signature.method for signature in signatures if signature.method in self._meta.signature_def):
            raise ConversionError(
                f"the SavedModel already has a signature {method!r}, which is served as it is; "
                f"remove {method} from backends.tfserving.signatures"
            )
        serialized = TensorSpec(name="inputs", dtype="string", shape=(None,))
        parsed = self._grow("examples", [serialized], lambda given: _parse(given["inputs"], served.inputs))
        for tensor in served.inputs:
            self._feed(self._default.inputs[tensor.name].name, parsed.outputs[tensor.name].name)
        for signature in signatures:
            wanted = [tensor for tensor in served.outputs if tensor.name in signature.outputs.values()]
            made = self._grow(signature.method, wanted, _outputs_of(signature))
            for name, info in made.inputs.items():
                self._feed(info.name, self._default.outputs[name].name)
            added = self._meta.signature_def[signature.method]
            added.method_name = PREFIX + signature.method
            _replace(added.inputs, parsed.inputs)
            _replace(added.outputs, made.outputs)

    def _grow(self, part: str, inputs: Sequence[TensorSpec], build: Build) -> _Part:
        """Build a small graph of placeholders for ``inputs`` and what ``build`` makes of them, and add its nodes."""
        from tensorflow.python.framework.meta_graph import strip_graph_default_valued_attrs

        graph = tf.Graph()
        with graph.as_default(), tf.name_scope(f"{self._scope}/{part}/"):
            given = {t.name: tf.compat.v1.placeholder(t.dtype, t.shape, f"input_{i}") for i, t in enumerate(inputs)}
            outputs = {name: tf.identity(t, f"output_{i}") for i, (name, t) in enumerate(build(given).items())}
        made = type(self._meta)(graph_def=graph.as_graph_def())
        check_graph(made.graph_def)
        strip_graph_default_valued_attrs(made)  # a server older than an attribute would not load it
        self._meta.graph_def.node.extend(made.graph_def.node)
        return _Part(inputs=_infos(given), outputs=_infos(outputs))

    def _feed(self, placeholder: str, tensor: str) -> None:
        """Make an Identity of a tensor out of a placeholder."""
        name, _, index = placeholder.partition(":")
        node = next(node for node in self._meta.graph_def.node if node.name == name)
        if not node.op.startswith("Placeholder") or index not in ("", "0"):
            raise ConversionError(
                f"the SavedModel takes its input at {placeholder!r}, which is no placeholder but in the middle of its "
                f"graph ({node.op}), so that nothing can stand before it; export it with placeholders as inputs"
            )
        dtype = node.attr["dtype"].type
        node.ClearField("attr")
        node.op = "Identity"
        node.attr["T"].type = dtype
        node.input[:] = [tensor.removesuffix(":0")]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """The ends of a graph that was added, as TensorInfo by name."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]


def _replace(side: Any, infos: Mapping[str, Any]) -> None:
    for name in list(side):
        del side[name]
    for name, info in infos.items():
        side[name].CopyFrom(info)


def _infos(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    from tensorflow.core.protobuf import meta_graph_pb2

    return {
        name: meta_graph_pb2.TensorInfo(
            name=tensor.name, dtype=tensor.dtype.as_datatype_enum, tensor_shape=tensor.shape.as_proto()
        )
        for name, tensor in tensors.items()
    }


def _parse(serialized: Tensor, inputs: Sequence[TensorSpec]) -> dict[str, Tensor]:
    """Parse serialized Examples: one feature an input, of as many values as one row has."""
    features = {t.name: tf.io.FixedLenFeature(t.shape[1:], _feature_dtype(t.dtype)) for t in inputs}
    parsed = tf.io.parse_example(serialized, features)
    return {tensor.name: _narrowed(parsed[tensor.name], tensor) for tensor in inputs}


def _feature_dtype(dtype: str) -> str:
    """Give the dtype in which an Example holds values of ``dtype``: it knows three."""
    if dtype.startswith("float"):
        return "float32"
    return "string" if dtype == "string" else "int64"


def _narrowed(parsed: Tensor, tensor: TensorSpec) -> Tensor:
    """Give parsed values in the dtype of the input; integers that it does not hold are refused when the graph runs."""
    if parsed.dtype == tf.as_dtype(tensor.dtype):
        return parsed
    cast = tf.cast(parsed, tensor.dtype)
    if parsed.dtype != tf.int64:
        return cast
    kept = tf.reduce_all(tf.equal(tf.cast(cast, tf.int64), parsed))
    message = f"feature {tensor.name}: holds integers that do not fit into {tensor.dtype}"
    with tf.control_dependencies([tf.raw_ops.Assert(condition=kept, data=[tf.constant(message)])]):
        return tf.identity(cast)


def _outputs_of(signature: ExampleSignature) -> Build:
    def build(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        made = {}
        for key, name in signature.outputs.items():
            tensor = given[name]
            made[key] = tensor if tensor.dtype == tf.string else tf.cast(tensor, tf.float32)
        if signature.labels:
            rows = tf.shape(made["scores"])[0]
            names = tf.constant([[label.encode() for label in signature.labels]], tf.string)
            made["classes"] = tf.tile(names, tf.stack([rows, 1]))
        return made

    return build
