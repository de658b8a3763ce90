"""scikit-learn to ONNX with skl2onnx, with the inputs and outputs that a signature asks for."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.convert.estimators.rewriting import simplify
from modelport.convert.examples import Array, InputSpec
from modelport.convert.onnx_names import rename_ends
from modelport.convert.torch_to_onnx import quiet
from modelport.errors import ConversionError

if TYPE_CHECKING:
    import onnx

    from modelport.convert.estimators.converter import Converter

#: Versions that skl2onnx knows and whose tree ensembles hold float64 thresholds.
_OPSETS = {"": 18, "ai.onnx.ml": 3}

#: Estimators whose converters write tree ensembles, and the attributes in which those hold floats.
_TREES = {
    f"{name}{what}"
    for name in ("DecisionTree", "ExtraTree", "RandomForest", "ExtraTrees", "GradientBoosting")
    for what in ("Classifier", "Regressor")
}
_DOUBLES = {"nodes_values", "nodes_hitrates", "target_weights", "class_weights", "base_values"}

#: Dtypes that few of skl2onnx's converters take, and those that hold the same values.
_WIDER = {
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16", "uint32", "bool"), "int64"),
    "float16": "float32",
}

#: What a signature may ask for -> names that skl2onnx gives it.
_OUTPUTS = {
    "label": ("label", "output_label"),
    "probabilities": ("probabilities", "output_probability"),
    "prediction": ("variable", "prediction", "GPmean", "label", "output_label"),
    "transformed": ("variable", "variable1", "transformed_column", "output", "scores"),
    "decision": ("probabilities", "scores", "output_probability"),
    "score": ("score_samples", "scores"),
}


def export_sklearn(estimator: Any, *, inputs: Sequence[InputSpec], outputs: Sequence[InputSpec]) -> onnx.ModelProto:
    """Convert a fitted estimator.

    Args:
        estimator: An estimator or pipeline.
        inputs: One matrix [batch, features], or one input a column, named as the columns are.
        outputs: ``label``, ``probabilities``, ``prediction``, ``transformed``, ``decision``, ``score``; under other
            names they stand in the order in which the estimator gives them.

    Raises:
        ConversionError: skl2onnx cannot convert it, or it does not give such an output.
    """
    problem: Exception | None = None
    for plan in _plans(estimator, inputs):
        try:
            return _export(estimator, inputs, outputs, plan)
        except ConversionError:
            raise
        except Exception as error:  # noqa: BLE001 - its converters raise whatever they come across
            problem = problem or error
    library = type(estimator).__module__.partition(".")[0]
    if library in ("xgboost", "lightgbm"):
        raise ConversionError(
            f"a pickled {type(estimator).__name__} cannot be converted; save the model itself with {library}'s own "
            f"save_model and write framework: {library}"
        ) from problem
    raise ConversionError(
        f"{type(estimator).__name__} cannot be converted to ONNX: {_reason(problem)}. Choose another estimator or "
        "setting, or serve the model by scikit-learn itself (--backend bentoml or torchserve, without "
        "serving.engine: onnx)"
    ) from problem


def _reason(problem: Exception | None) -> str:
    """Say why in a sentence: skl2onnx names what it does not know in many words, and stumbles over what it does not."""
    text = " ".join(str(problem).split())
    kind = re.search(r"for type '<class '([\w.]+)'", text)
    if kind is not None and type(problem).__name__ == "MissingShapeCalculator":
        return f"skl2onnx has no converter for {kind[1].rpartition('.')[2]}"
    if isinstance(problem, NotImplementedError | RuntimeError):
        return text[:300].rstrip(".")
    return f"skl2onnx does not know one of its settings ({type(problem).__name__}: {text[:200].rstrip('.')})"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """One way to show a signature's inputs to skl2onnx.

    Attributes:
        inside: Dtypes of inputs that are replaced inside the graph, and by which.
        joined: Columns are put together into one matrix, of numpy's common dtype for them.
    """

    inside: Mapping[str, str] = field(default_factory=dict)
    joined: bool = False


def _plans(estimator: Any, inputs: Sequence[InputSpec]) -> list[_Plan]:
    """Return the ways to try, in that order.

    skl2onnx knows some estimators in float32 alone, and types some graphs of float64 wrongly. Gaussian processes
    compute in float64 whatever comes in, and lose in float32 all that counts; histogram boosting compares in float64,
    and rounded rows would part differently. It does not bring columns to one dtype as numpy does, and few estimators
    take columns in place of a matrix.
    """
    dtypes = {spec.dtype for spec in inputs}
    numbers = {dtype for dtype in dtypes if dtype not in {"string", "bool"}}
    whole = [False, True] if len(inputs) > 1 and "string" not in dtypes else [False]
    kinds = _kinds(estimator)
    if "GaussianProcess" in kinds:
        return [_Plan(inside={"float32": "float64", "float16": "float64"}, joined=joined) for joined in whole]
    changes: list[dict[str, str]] = [{}]
    if dtypes & _WIDER.keys():
        changes.append(dict(_WIDER))
    if len(inputs) > 1 and len(numbers) > 1:
        changes.append(dict.fromkeys(sorted(numbers - {"float64"}), "float64"))
    if "float64" in dtypes and "HistGradientBoosting" not in kinds:
        changes.append({"float64": "float32"})
    return [_Plan(inside=inside, joined=joined) for inside in changes for joined in whole]


def _kinds(estimator: Any) -> str:
    """Return the names of all types of an estimator and those inside it."""
    inner = list(getattr(estimator, "get_params", dict)().values()) + list(getattr(estimator, "estimators_", []))
    return " ".join([type(estimator).__name__, *(type(e).__name__ for e in inner if hasattr(e, "fit"))])


def _export(estimator: Any, inputs: Sequence[InputSpec], outputs: Sequence[InputSpec], plan: _Plan) -> onnx.ModelProto:
    """Convert as planned."""
    import onnx
    from skl2onnx import convert_sklearn

    estimator = simplify(estimator)
    own = _own_converters()
    names = _column_names(estimator, inputs)
    dtypes = [plan.inside.get(spec.dtype, spec.dtype) for spec in inputs]
    if plan.joined:
        common = str(np.result_type(*map(np.dtype, dtypes)))
        types = [("matrix", _tensor_type([None, len(inputs)], common))]
    else:
        shapes = [[None, 1] if len(spec.shape) == 1 else list(spec.shape) for spec in inputs]
        types = [(n, _tensor_type(shape, dtype)) for n, shape, dtype in zip(names, shapes, dtypes, strict=True)]
    wanted = [spec.name for spec in outputs]
    with quiet():
        model = convert_sklearn(
            estimator,
            initial_types=types,
            options=_options(estimator, wanted),
            target_opset=_OPSETS,
            custom_conversion_functions={
                **_plain_converters(),
                **_voting_converters(),
                **{kind: converter.run for kind, converter in own.items()},
            },
            custom_shape_calculators={kind: c.infer_shapes for kind, c in own.items() if c.knows_shapes},
        )
    _lead_missing(model, estimator)
    _choose_outputs(model, estimator, outputs)
    if plan.joined:
        _join_columns(model, inputs, [names.index(name) for name in _known_columns(estimator) or names])
    _adapt_inputs(model, inputs)
    rename_ends(model.graph, [spec.name for spec in inputs], wanted)
    onnx.checker.check_model(model, full_check=True)
    return model


def _column_names(estimator: Any, inputs: Sequence[InputSpec]) -> list[str]:
    """Return the names that skl2onnx must see: a column transformer looks its columns up by them."""
    known = _known_columns(estimator)
    if len(inputs) > 1 and known and sorted(known) != sorted(spec.name for spec in inputs):
        raise ConversionError(
            f"the estimator was fitted on the columns {known}, the signature's inputs are "
            f"{[spec.name for spec in inputs]}; name the inputs as the columns"
        )
    return [spec.name for spec in inputs] if len(inputs) > 1 else ["matrix"]


def _known_columns(estimator: Any) -> list[str]:
    return [str(name) for name in getattr(estimator, "feature_names_in_", [])]


def _tensor_type(shape: Sequence[int | None], dtype: str) -> Any:
    from skl2onnx.common import data_types

    kinds = {
        "float32": "FloatTensorType", "float64": "DoubleTensorType", "float16": "Float16TensorType",
        "int64": "Int64TensorType", "int32": "Int32TensorType", "int16": "Int16TensorType",
        "int8": "Int8TensorType", "uint8": "UInt8TensorType", "uint16": "UInt16TensorType",
        "uint32": "UInt32TensorType", "uint64": "UInt64TensorType", "bool": "BooleanTensorType",
        "string": "StringTensorType",
    }  # fmt: skip
    return getattr(data_types, kinds[dtype])(list(shape))


def _options(estimator: Any, wanted: Sequence[str]) -> dict[int, dict[str, Any]] | None:
    """Return skl2onnx's options: matrices in place of dictionaries, and margins or scores where they are asked for."""
    from skl2onnx._supported_operators import sklearn_operator_name_map
    from skl2onnx.common._registration import get_converter

    last = _last(estimator)
    name = sklearn_operator_name_map.get(type(last))
    allowed = (get_converter(name).get_allowed_options() if name is not None else None) or {}
    options: dict[str, Any] = {"zipmap": False} if "zipmap" in allowed else {}
    if "decision" in wanted and "raw_scores" in allowed:
        options["raw_scores"] = True
    if "score" in wanted and "score_samples" in allowed:
        options["score_samples"] = True
    return {id(last): options} if options else None


def _own_converters() -> dict[type, Converter]:
    """Return the converters of `modelport.convert.estimators`."""
    from modelport.convert.estimators import filling, functions, histogram, neighbors, scores, text

    modules = (filling, functions, histogram, neighbors, scores, text)
    return {kind: converter for module in modules for kind, converter in module.converters().items()}


def _voting_converters() -> dict[type, Callable[..., None]]:
    """Return converters for voting classifiers that do not stumble over how `transform`, which is not served, looks."""
    from skl2onnx._supported_operators import sklearn_operator_name_map
    from skl2onnx.common._registration import get_converter
    from sklearn.ensemble import VotingClassifier

    def run(scope: Any, operator: Any, container: Any) -> None:
        operator.raw_operator = copy.copy(operator.raw_operator)
        operator.raw_operator.flatten_transform = False
        get_converter(sklearn_operator_name_map[VotingClassifier])(scope, operator, container)

    return {VotingClassifier: run}


def _plain_converters() -> dict[type, Callable[..., None]]:
    """Return converters for trees that write what skl2onnx's own find, but in numbers that mean the same.

    Some of its converters hand numpy's numbers on, which onnx refuses, and all round the thresholds of float64 models.
    """
    from skl2onnx._supported_operators import sklearn_operator_name_map
    from skl2onnx.common._registration import get_converter
    from skl2onnx.common.data_types import DoubleTensorType

    def plain(kind: type) -> Callable[..., None]:
        convert = get_converter(sklearn_operator_name_map[kind])

        def run(scope: Any, operator: Any, container: Any) -> None:
            double = isinstance(operator.inputs[0].type, DoubleTensorType)
            left = _missing_left(operator.raw_operator)
            convert(scope, operator, _PlainNumbers(scope, container, double=double, missing_left=left))

        return run

    return {kind: plain(kind) for kind in sklearn_operator_name_map if kind.__name__ in _TREES}


def _missing_left(estimator: Any) -> list[Array]:
    """Return for each tree which nodes send NaN to the left; nothing where skl2onnx writes it, or NaN is refused."""
    members = [estimator] if hasattr(estimator, "tree_") else list(getattr(estimator, "estimators_", []))
    if not all(hasattr(member, "tree_") for member in members):
        return []
    return [np.asarray(member.tree_.missing_go_to_left) for member in members]


def _lead_missing(model: onnx.ModelProto, estimator: Any) -> None:
    """Write into an isolation forest's trees which way NaN goes; its converter sends all to the right, one node a tree.

    Raises:
        ConversionError: A tree of the graph is none of the estimator's.
    """
    from onnx import helper
    from sklearn.ensemble import IsolationForest

    last = _last(estimator)
    if not isinstance(last, IsolationForest):
        return
    trees = [member.tree_ for member in last.estimators_]
    for node in model.graph.node:
        if node.op_type != "TreeEnsembleRegressor":
            continue
        attributes = {attribute.name: attribute for attribute in node.attribute}
        features = list(attributes["nodes_featureids"].ints)
        values = np.array(attributes["nodes_values"].floats, np.float32)
        tree = next((tree for tree in trees if _is_tree(tree, features, values)), None)
        if tree is None:
            raise ConversionError("a tree of the isolation forest was written in a way that this version does not know")
        left = [int(tree.missing_go_to_left[i]) for i in attributes["nodes_nodeids"].ints]
        written = "nodes_missing_value_tracks_true"
        if written in attributes:
            node.attribute.remove(attributes[written])
        node.attribute.append(helper.make_attribute(written, left))


def _is_tree(tree: Any, features: Sequence[int], values: Array) -> bool:
    """Tell whether nodes with these features and thresholds (rounded to float32) are a tree's, in its order."""
    inner = tree.children_left >= 0
    if len(features) != len(inner):
        return False
    own, written = np.where(inner, tree.feature, 0), np.where(inner, features, 0)
    close = np.allclose(np.where(inner, tree.threshold, 0), np.where(inner, values, 0), rtol=1e-6, atol=1e-30)
    return bool((own == written).all() and close)


class _PlainNumbers:
    """A container that turns numpy's numbers in attributes into Python's on their way in, float64 kept exact.

    Trees see float64 rounded to float32: skl2onnx rounds the thresholds alone, and a value that becomes equal to one by
    rounding would go the other way.
    It also adds which way NaN goes in trees, where skl2onnx leaves it out and ONNX would send all to the right.
    """

    def __init__(self, scope: Any, container: Any, *, double: bool, missing_left: Sequence[Array]) -> None:
        self._scope = scope
        self._container = container
        self._double = double
        self._missing_left = missing_left
        self._alone = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, op_type: str, inputs: Any, *args: Any, **attributes: Any) -> None:
        """Add a node as the container itself does."""
        plain: dict[str, Any] = {}
        if self._double and op_type.startswith("TreeEnsemble"):
            inputs = self._rounded(inputs if isinstance(inputs, str) else inputs[0])
        if self._missing_left and "nodes_treeids" in attributes:
            places = list(zip(attributes["nodes_treeids"], attributes["nodes_nodeids"], strict=True))
            left = self._missing_left
            if not any(tree for tree, _ in places):  # of several targets, each tree is written by itself, in order
                left, self._alone = left[self._alone :], self._alone + 1
            attributes["nodes_missing_value_tracks_true"] = [left[tree][node] for tree, node in places]
        for key, value in attributes.items():
            if key in _DOUBLES and self._double:
                plain[f"{key}_as_tensor"] = _double_tensor(f"{key}_as_tensor", value)
                plain["op_version"] = 3
            elif isinstance(value, list | np.ndarray):
                plain[key] = [_plain_number(item) for item in value]
            else:
                plain.setdefault(key, value)
        self._container.add_node(op_type, inputs, *args, **plain)

    def _rounded(self, matrix: str) -> str:
        """Round to float32, as scikit-learn's trees do before they compare."""
        from onnx import TensorProto

        for kind in (TensorProto.FLOAT, TensorProto.DOUBLE):
            name = self._scope.get_unique_variable_name("rounded")
            self._container.add_node(
                "Cast", [matrix], [name], to=kind, name=self._scope.get_unique_operator_name("Cast")
            )
            matrix = name
        return matrix


def _plain_number(item: Any) -> Any:
    item = item.item() if isinstance(item, np.generic) else item
    return int(item) if isinstance(item, bool) else item


def _double_tensor(name: str, values: Sequence[float] | Array) -> Any:
    """Return thresholds and weights as float64: the attribute of that name without `_as_tensor` would round them."""
    import onnx

    return onnx.helper.make_tensor(name, onnx.TensorProto.DOUBLE, [len(values)], values)


def _choose_outputs(model: Any, estimator: Any, outputs: Sequence[InputSpec]) -> None:
    """Leave in the graph the outputs that are asked for, in that order, with their dtype and shape."""
    import onnx

    have = {value.name: value for value in model.graph.output}
    chosen: list[onnx.ValueInfoProto] = []
    for i, spec in enumerate(outputs):
        fitting = [name for name in _OUTPUTS.get(spec.name, ()) if name in have]
        if not fitting and spec.name not in _OUTPUTS and len(outputs) == len(have):
            fitting = [list(have)[i]]
        if not fitting:
            raise ConversionError(
                f"{type(estimator).__name__} has no output {spec.name!r} in ONNX; it gives {', '.join(have)}. Leave it "
                "out of signature.outputs, or serve the model with --backend bentoml or torchserve"
            )
        if have[fitting[0]] in chosen and spec.name in ("decision", "probabilities"):
            raise ConversionError(
                f"{spec.name!r} and {outputs[chosen.index(have[fitting[0]])].name!r} are one output of "
                f"{type(estimator).__name__} in ONNX, which holds one or the other; leave one of them out of "
                "signature.outputs, or serve the model with --backend bentoml or torchserve"
            )
        chosen.append(have[fitting[0]])
    del model.graph.output[:]
    for i, (value, spec) in enumerate(zip(chosen, outputs, strict=True)):
        name = _shaped(model, value, spec, i)
        if spec.name == "score" and value.name == "scores":
            name = _from_offset(model, name, float(np.ravel(_last(estimator).offset_)[0]), spec, i)
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, _elem_type(spec), list(spec.shape)))


def _from_offset(model: Any, decision: str, offset: float, spec: InputSpec, number: int) -> str:
    """Add what makes an outlier detector's score of its decision."""
    import onnx

    name = f"offset_{number}"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(offset, spec.dtype), name))
    model.graph.node.append(onnx.helper.make_node("Add", [decision, name], [f"score_{number}"]))
    return f"score_{number}"


def _last(estimator: Any) -> Any:
    """Return a pipeline's last step, or the estimator itself."""
    return estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator


def _elem_type(spec: InputSpec) -> int:
    import onnx

    if spec.dtype == "string":
        return int(onnx.TensorProto.STRING)
    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)))


def _shaped(model: Any, value: Any, spec: InputSpec, number: int) -> str:
    """Add what turns an output of skl2onnx, mostly [batch, 1] in float32, into what the signature says."""
    import onnx

    name = value.name
    if spec.name == "decision" and len(spec.shape) == 1 and len(value.type.tensor_type.shape.dim) != 1:
        # Of two classes both have a score here, and scikit-learn gives the second one's.
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(-1), f"last_{number}"))
        model.graph.node.add(op_type="Gather", input=[name, f"last_{number}"], output=[f"picked_{number}"])
        model.graph.node[-1].attribute.append(onnx.helper.make_attribute("axis", 1))
        name = f"picked_{number}"
    elif len(spec.shape) == 1:
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1]), f"flat_{number}"))
        model.graph.node.add(op_type="Reshape", input=[name, f"flat_{number}"], output=[f"flattened_{number}"])
        name = f"flattened_{number}"
    # Always cast: the types that skl2onnx declares are not always those that its graph has.
    model.graph.node.append(onnx.helper.make_node("Cast", [name], [f"cast_{number}"], to=_elem_type(spec)))
    return f"cast_{number}"


def _join_columns(model: Any, inputs: Sequence[InputSpec], order: Sequence[int]) -> None:
    """Put an input a column in place of the graph's matrix, joined in the order in which the estimator has them."""
    import onnx

    matrix = model.graph.input[0]
    dtype = matrix.type.tensor_type.elem_type
    columns = [onnx.helper.make_tensor_value_info(f"column_{i}", dtype, [None, 1]) for i in range(len(inputs))]
    model.graph.input.pop()
    model.graph.input.extend(columns)
    taken = [columns[i].name for i in order]
    model.graph.node.insert(0, onnx.helper.make_node("Concat", taken, [matrix.name], axis=1))


def _adapt_inputs(model: Any, inputs: Sequence[InputSpec]) -> None:
    """Let the graph take what the signature says: vectors where it wants columns, float64 where it wants float32."""
    import onnx

    for i, (value, spec) in enumerate(zip(model.graph.input, inputs, strict=True)):
        declared, old = value.type.tensor_type, value.name
        steps: list[tuple[str, list[str], dict[str, Any]]] = []
        if len(spec.shape) == 1:
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, 1]), f"tall_{i}"))
            steps.append(("Reshape", [f"tall_{i}"], {}))
            del declared.shape.dim[1:]
        if declared.elem_type != _elem_type(spec):
            steps.append(("Cast", [], {"to": declared.elem_type}))
            declared.elem_type = _elem_type(spec)
        if not steps:
            continue
        name = f"adapted_{i}_{len(steps)}"
        for node in model.graph.node:
            node.input[:] = [name if given == old else given for given in node.input]
        names = [old, *(f"adapted_{i}_{k + 1}" for k in range(len(steps)))]
        for k, (op, more, attributes) in reversed(list(enumerate(steps))):
            model.graph.node.insert(0, onnx.helper.make_node(op, [names[k], *more], [names[k + 1]], **attributes))
