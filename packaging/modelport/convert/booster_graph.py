"""An ensemble of trees as an ONNX graph: one `TreeEnsemble` node, and plain ops around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.convert.booster_trees import WAY_OUT, Ensemble, Nodes
from modelport.convert.examples import Array, InputSpec
from modelport.convert.graph_writer import GraphWriter, elem_type
from modelport.errors import ConversionError

if TYPE_CHECKING:
    import onnx

ML = "ai.onnx.ml"
_OPSETS = {"": 18, ML: 5}
_LESS_OR_EQUAL, _LESS = 0, 1  # modes of TreeEnsemble's nodes
_SUM = 1  # of its ways to aggregate
_MOST_MEMBERSHIPS = 2**28


def build_graph(
    ensemble: Ensemble,
    *,
    inputs: Sequence[InputSpec],
    columns: Sequence[str] | None,
    outputs: Sequence[InputSpec],
    meanings: Mapping[str, str],
) -> onnx.ModelProto:
    """Write an ensemble as ONNX.

    Args:
        ensemble: The trees.
        inputs: The graph's inputs: one matrix, or the columns.
        columns: Names of the inputs in the ensemble's order of columns; None for one matrix.
        outputs: The graph's outputs.
        meanings: ``label``, ``probabilities`` or ``prediction`` for each of them.

    Raises:
        ConversionError: The categorical splits would need too large a table.
    """
    import onnx

    graph = GraphWriter()
    ends = {spec.name: f"input_{number}" for number, spec in enumerate(inputs)}
    matrix = _matrix(graph, ends, columns, ensemble)
    matrix, nodes = with_memberships(graph, matrix, ensemble)
    classifies = "prediction" not in meanings.values()
    results = link(graph, _trees(graph, matrix, nodes, ensemble), ensemble, classifies=classifies)
    found = []
    for number, spec in enumerate(outputs):
        value = results
        if meanings[spec.name] == "label":
            value = graph.add("ArgMax", results, axis=1, keepdims=0)
        elif len(spec.shape) == 1:
            value = graph.add("Reshape", results, graph.constant([-1], np.int64))
        graph.add("Cast", value, to=elem_type(spec.dtype))
        graph.nodes[-1].output[0] = f"output_{number}"
        found.append(f"output_{number}")
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            "booster",
            [_end(ends[spec.name], spec) for spec in inputs],
            [_end(name, spec) for name, spec in zip(found, outputs, strict=True)],
            graph.constants,
        ),
        opset_imports=[onnx.helper.make_opsetid(domain, version) for domain, version in _OPSETS.items()],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    return model


def _end(name: str, spec: InputSpec) -> Any:
    import onnx

    return onnx.helper.make_tensor_value_info(name, elem_type(spec.dtype), list(spec.shape))


def _matrix(graph: GraphWriter, ends: Mapping[str, str], columns: Sequence[str] | None, ensemble: Ensemble) -> str:
    """Add what makes one matrix of the inputs, in the type that the ensemble compares in."""
    if columns is None:
        matrix = graph.cast(next(iter(ends.values())), ensemble.dtype)
    else:
        tall = graph.constant([-1, 1], np.int64)
        parts = (graph.add("Reshape", graph.cast(ends[name], ensemble.dtype), tall) for name in columns)
        matrix = graph.add("Concat", *parts, axis=1)
    if ensemble.nothing is None or ensemble.nothing_counts_as is None:
        return matrix
    near = graph.add("LessOrEqual", graph.add("Abs", matrix), graph.constant(ensemble.nothing, ensemble.dtype))
    return graph.add("Where", near, graph.constant(ensemble.nothing_counts_as, ensemble.dtype), matrix)


def with_memberships(graph: GraphWriter, matrix: str, ensemble: Ensemble) -> tuple[str, Nodes]:
    """Append a column for every set of categories that is asked for: 0 for its members, 1 for others, NaN for NaN.

    Returns:
        The wider matrix, and the nodes with each such question turned into a comparison with 0.5.
    """
    nodes = ensemble.nodes
    asked = np.flatnonzero(nodes.subset >= 0)
    feature, threshold = nodes.feature.copy(), nodes.threshold.copy()
    threshold[asked] = 0.5
    parts, width, entries = [matrix], ensemble.features, 0
    for column in np.unique(nodes.feature[asked]):
        here = asked[nodes.feature[asked] == column]
        subsets = [ensemble.subsets[number] for number in nodes.subset[here]]
        last = max((int(subset[-1]) for subset in subsets if len(subset)), default=0)
        entries += (last + 3) * len(subsets)
        if entries > _MOST_MEMBERSHIPS:
            raise ConversionError(f"its categorical splits have too many categories to convert; {WAY_OUT}")
        # Rows: below all categories, the categories, above all of them.
        table = np.ones((last + 3, len(subsets)), np.uint8)
        for place, subset in enumerate(subsets):
            table[subset + 1, place] = 0
        parts.append(_look_up(graph, matrix, int(column), table, ensemble))
        feature[here] = width + np.arange(len(subsets))
        width += len(subsets)
    if len(parts) > 1:
        matrix = graph.add("Concat", *parts, axis=1)
    kept = {name: getattr(nodes, name) for name in Nodes.__slots__}
    return matrix, Nodes(**{**kept, "feature": feature, "threshold": threshold})


def _look_up(graph: GraphWriter, matrix: str, column: int, table: Array, ensemble: Ensemble) -> str:
    dtype = ensemble.dtype
    value = graph.add("Gather", matrix, graph.constant([column], np.int64), axis=1)
    nan = graph.add("IsNaN", value)
    known = graph.add("Where", nan, graph.constant(-1, dtype), value)
    if ensemble.floors:
        known = graph.add("Floor", known)
    known = graph.add("Clip", known, graph.constant(-1, dtype), graph.constant(len(table) - 2, dtype))
    row = graph.add("Add", graph.cast(known, "int64"), graph.constant(1, np.int64))
    flat = graph.add("Reshape", row, graph.constant([-1], np.int64))
    outside = graph.cast(graph.add("Gather", graph.constant(table, np.uint8), flat, axis=0), dtype)
    return graph.add("Where", nan, graph.constant(np.nan, dtype), outside)


def _trees(graph: GraphWriter, matrix: str, nodes: Nodes, ensemble: Ensemble) -> str:
    """Add the trees and give their sums, [rows, targets]."""
    import onnx

    nodes, roots = _without_bare_leaves(nodes, ensemble.roots)
    used = _reached(nodes, roots)
    tree = np.searchsorted(roots, np.arange(len(used)), side="right") - 1
    inner, leaves = np.flatnonzero(used & ~nodes.leaf), np.flatnonzero(used & nodes.leaf)
    place = np.zeros(len(used), np.int64)  # inner nodes and leaves are numbered apart
    place[inner], place[leaves] = np.arange(len(inner)), np.arange(len(leaves))
    yes, no = nodes.yes[inner], nodes.no[inner]

    def tensor(name: str, values: Array, dtype: str) -> Any:
        return onnx.numpy_helper.from_array(values.astype(dtype), name)

    sums = graph.add(
        "TreeEnsemble",
        matrix,
        domain=ML,
        aggregate_function=_SUM,
        n_targets=len(ensemble.base),
        tree_roots=place[roots].tolist(),
        nodes_featureids=nodes.feature[inner].tolist(),
        nodes_splits=tensor("nodes_splits", nodes.threshold[inner], ensemble.dtype),
        nodes_modes=tensor("nodes_modes", np.full(len(inner), _LESS if ensemble.strict else _LESS_OR_EQUAL), "uint8"),
        nodes_missing_value_tracks_true=nodes.missing[inner].astype(int).tolist(),
        nodes_truenodeids=place[yes].tolist(),
        nodes_falsenodeids=place[no].tolist(),
        nodes_trueleafs=nodes.leaf[yes].astype(int).tolist(),
        nodes_falseleafs=nodes.leaf[no].astype(int).tolist(),
        leaf_targetids=ensemble.targets[tree[leaves]].tolist(),
        leaf_weights=tensor("leaf_weights", nodes.value[leaves], ensemble.dtype),
    )
    if ensemble.divisor != 1:
        sums = graph.add("Div", sums, graph.constant(ensemble.divisor, ensemble.dtype))
    return graph.add("Add", sums, graph.constant(ensemble.base, ensemble.dtype)) if ensemble.base.any() else sums


def _without_bare_leaves(nodes: Nodes, roots: Array) -> tuple[Nodes, Array]:
    """Give each tree that is one leaf a root above it, whose two children both are that leaf's value."""
    bare = nodes.leaf[roots]
    if not bare.any():
        return nodes, roots
    sizes = np.diff([*roots, len(nodes.leaf)])
    extra = 2 * np.repeat(np.cumsum(bare) - bare, sizes)  # nodes put in before each node's tree
    values = {name: getattr(nodes, name) for name in Nodes.__slots__}
    values["yes"], values["no"] = nodes.yes + extra, nodes.no + extra
    at = np.repeat(roots[bare], 2)  # two leaves more, before the lone one, which becomes the root
    whole = {name: np.insert(array, at, array[at]) for name, array in values.items()}
    begins = roots + 2 * (np.cumsum(bare) - bare)
    first = begins[bare]
    whole["leaf"][first], whole["subset"][first] = False, -1
    whole["feature"][first] = 0
    whole["yes"][first], whole["no"][first] = first + 1, first + 2
    return Nodes(**whole), begins


def _reached(nodes: Nodes, roots: Array) -> Array:
    """Tell which nodes a row can come to; XGBoost's pruning leaves others behind."""
    used = np.zeros(len(nodes.leaf), bool)
    level = roots
    while len(level):
        used[level] = True
        inner = level[~nodes.leaf[level]]
        level = np.unique(np.concatenate([nodes.yes[inner], nodes.no[inner]]))
    return used


def link(graph: GraphWriter, sums: str, ensemble: Ensemble, *, classifies: bool) -> str:
    """Turn sums into answers, [rows, targets]; of two classes, [rows, 2]."""
    dtype = ensemble.dtype
    one = graph.constant(1, dtype)
    if ensemble.link == "sigmoid":
        scaled = graph.add("Mul", sums, graph.constant(ensemble.scale, dtype)) if ensemble.scale != 1 else sums
        second = graph.add("Sigmoid", scaled)
        pair = classifies and len(ensemble.base) == 1
        return graph.add("Concat", graph.add("Sub", one, second), second, axis=1) if pair else second
    links: dict[str, Callable[[], str]] = {
        "identity": lambda: sums,
        "softmax": lambda: graph.add("Softmax", sums, axis=1),
        "softplus": lambda: graph.add("Log", graph.add("Add", one, graph.add("Exp", sums))),
        "exp": lambda: graph.add("Exp", sums),
        "step": lambda: graph.cast(graph.add("Greater", sums, graph.constant(0, dtype)), dtype),
        "square": lambda: graph.add("Mul", graph.add("Sign", sums), graph.add("Mul", sums, sums)),
    }
    return links[ensemble.link]()
