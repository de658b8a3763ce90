"""ONNX's own tests of single ops, run through the lowering.

``passing.txt`` names those that pass, ``failing.txt`` those that do not, each under a reason. Every test of the
installed onnx stands in one of them, and both are kept true: a test that changes sides is a failure. After a look at
why, both are written anew by

    python tests/conformance/onnx_backend/test_node_ops.py

``emitted.txt`` names the ops that exporters write, for the shares that are promised of them.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelport.errors import ModelportError

HERE = Path(__file__).parent
PASSING, FAILING, EMITTED = HERE / "passing.txt", HERE / "failing.txt", HERE / "emitted.txt"
DOCUMENT = Path(__file__).parents[3] / "docs" / "conversion.md"
START, END = "<!-- shares:", "<!-- end of shares -->"
REWRITE = "look at why, then write the tables anew: python tests/conformance/onnx_backend/test_node_ops.py"

RANDOM = "Random numbers: no two runs agree, so that a conversion cannot be proven equal."
NO_KERNEL = "TensorFlow has the type, but no CPU kernel that casts it or computes with it."
ROUNDING = "Rounds at other places than the reference, which computes in 16 bits throughout: the last digit differs."
CUT = "Counts a length that is not whole; the lowering cuts it first, as PyTorch and ONNX Runtime do."

#: Why tests fail, by what stands in their name or in what the lowering says; the first that fits.
REASONS = (
    ("ai.onnx.preview.training", "A training op: an optimizer's step. A served model does not train."),
    ("training mode", "Training mode: a model is served in evaluation mode, and the lowering says how to export it."),
    ("RandomUniform", RANDOM),
    ("bernoulli", RANDOM),
    ("E8M0", "TensorFlow has no such type."),
    ("e8m0", "TensorFlow has no such type."),
    *((mark, NO_KERNEL) for mark in ("FNUZ", "INT2", "int2", "FLOAT4", "float4")),
    ("image_decoder", "Decodes image files, TIFF, WebP and JPEG 2000 too; files are decoded before the model."),
    *((mark, ROUNDING) for mark in ("bf16", "bfloat16", "fp16")),
    ("dft_inverse", "The reference misses zero by the rounding of single precision; the lowering comes closer."),
    ("downsample_scales_cubic_align", CUT),
    ("downsample_scales_linear_align", CUT),
    ("Scan (node 'y') to TensorFlow: modelport knows no lowering for it at opset 8", "Opset 8; read from 13 on."),
    ("an optional at", "An optional that holds nothing at the model's end: a signature has tensors only."),
    ("knows no lowering", "Not lowered: no exporter of those named in emitted.txt writes the op."),
)  # fmt: skip


@cache
def node_cases() -> dict[str, Any]:
    """Return every node test of onnx by name."""
    from onnx.backend.test.loader import load_model_tests

    with np.errstate(all="ignore"):
        return {case.name: case for case in load_model_tests(kind="node")}


def passing() -> list[str]:
    return PASSING.read_text().split() if PASSING.exists() else []


def failing() -> dict[str, str]:
    """Return the reason by test name."""
    reasons: dict[str, str] = {}
    reason = ""
    for line in FAILING.read_text().splitlines() if FAILING.exists() else []:
        if line.startswith("# "):
            reason = line.removeprefix("# ")
        elif line:
            reasons[line] = reason
    return reasons


def as_value(recorded: Any) -> Any:
    """Return a recorded input or output as the lowering takes it: an array, a list of them, or None."""
    from onnx import TensorProto
    from onnx.numpy_helper import to_array

    if recorded is None:
        return None
    if isinstance(recorded, list):
        return [as_value(item) for item in recorded]
    array = to_array(recorded) if isinstance(recorded, TensorProto) else np.asarray(recorded)
    if array.dtype.kind not in "OUS":
        return array
    flat = [item.encode() if isinstance(item, str) else bytes(item) for item in array.reshape(-1)]
    strings = np.empty(len(flat), dtype=object)
    strings[:] = flat
    return strings.reshape(array.shape)


def run_lowered(model: Any, inputs: list[Any]) -> list[Any]:
    """Lower the model with its inputs as placeholders; those that must be constant are given as such."""
    import tensorflow as tf

    from modelport.convert.onnx_to_tf.saved_model import check_graph
    from modelport.convert.onnx_to_tf.value import Value
    from modelport.convert.onnx_to_tf.walk import Walk
    from modelport.convert.onnx_to_tf.weights import Weights

    problem: Exception | None = None
    for placeholders in (len(inputs), 1, 0):
        graph = tf.Graph()
        fed: dict[Any, Any] = {}

        def end(given: Any, *, constant: bool, fed: dict[Any, Any] = fed) -> Value:
            if isinstance(given, list):
                return Value.of_items([end(item, constant=constant) for item in given])
            if constant:
                return Value(given)
            dtype = tf.string if given.dtype == object else tf.as_dtype(given.dtype)
            placeholder = tf.compat.v1.placeholder(dtype, given.shape, f"input_{len(fed)}")
            fed[placeholder] = given
            return Value(placeholder)

        try:
            with graph.as_default():
                scope = {
                    value.name: end(given, constant=i >= placeholders)
                    for i, (value, given) in enumerate(zip(model.graph.input, inputs, strict=True))
                    if given is not None
                }
                opsets = {o.domain: o.version for o in model.opset_import}
                walk = Walk(Weights(graph, 1 << 20), opsets)
                results = [tensors(walk, value) for value in walk.lower_graph(model.graph, scope)]
                check_graph(graph.as_graph_def())
                with tf.compat.v1.Session(graph=graph) as session:
                    return [session.run(result, fed) for result in results]
        except ModelportError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def tensors(walk: Any, value: Any) -> Any:
    """Return a result as a tensor, a sequence as a list of tensors."""
    return walk.tensor(value) if value.items is None else [tensors(walk, item) for item in value.items]


def compare(found: Any, wanted: Any, case: Any) -> None:
    if wanted is None:
        pytest.fail("an optional at the model's end")
    if isinstance(wanted, list):
        assert isinstance(found, list)
        for mine, theirs in zip(found, wanted, strict=True):
            compare(mine, theirs, case)
        return
    if wanted.dtype == object:
        found = np.asarray(found, dtype=object)
        assert found.shape == wanted.shape
        assert found.tolist() == wanted.tolist()
        return
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    exact = wanted.dtype.kind in "iub"
    kind = np.int64 if exact and wanted.dtype.kind != "u" else np.float64
    np.testing.assert_allclose(
        found.astype(kind), wanted.astype(kind), rtol=0 if exact else case.rtol, atol=0 if exact else case.atol
    )


def check_case(name: str) -> None:
    case = node_cases()[name]
    for recorded_inputs, recorded_outputs in case.data_sets:
        inputs, outputs = ([as_value(one) for one in ends] for ends in (recorded_inputs, recorded_outputs))
        for found, wanted in zip(run_lowered(case.model, inputs), outputs, strict=True):
            compare(found, wanted, case)


@pytest.mark.parametrize("name", passing())
def test_node(name: str) -> None:
    check_case(name)


@pytest.mark.parametrize("name", failing())
def test_failing_for_a_reason(name: str) -> None:
    assert failing()[name], f"{name} has no reason in {FAILING.name}"
    try:
        check_case(name)
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 - whatever keeps it from passing
        return
    pytest.fail(f"{name} passes now; {REWRITE}")


def test_every_test_stands_in_one_table() -> None:
    both = set(passing()) & set(failing())
    assert not both, f"in both tables: {sorted(both)}; {REWRITE}"
    listed = {*passing(), *failing()}
    assert listed == set(node_cases()), f"not in step with onnx: {sorted(listed ^ set(node_cases()))}; {REWRITE}"


@dataclass(frozen=True)
class Share:
    """How many of some tests pass, and at least which share of them is promised."""

    of: str
    passed: int
    count: int
    least: float = 0.0

    def __str__(self) -> str:
        promise = f", at least {100 * self.least:g} % promised" if self.least else ""
        return f"{self.of}: {self.passed} of {self.count} ({100 * self.passed / self.count:.1f} %{promise})"


def is_apart(name: str, case: Any) -> bool:
    """Whether a test is of what a signature cannot hold or a server does not do.

    These are sequences, optionals and strings, types that TensorFlow's CPU kernels do not compute with (fp8, fp4 and
    integers below 8 bits), training, and random numbers.
    """
    from onnx import TensorProto

    types = [value.type for value in (*case.model.graph.input, *case.model.graph.output)]
    narrow = {
        t
        for n, t in TensorProto.DataType.items()
        if n.startswith(("FLOAT8", "FLOAT4", "INT4", "UINT4", "INT2", "UINT2"))
    }
    return (
        any(not t.HasField("tensor_type") or t.tensor_type.elem_type in {TensorProto.STRING, *narrow} for t in types)
        or "training" in name
        or "bernoulli" in name
        or any(node.domain == "ai.onnx.preview.training" for node in case.model.graph.node)
    )


def shares() -> list[Share]:
    """Return the shares, from the table of what passes."""
    good = set(passing())
    cases = node_cases()
    emitted = {op for line in EMITTED.read_text().splitlines() if line[:1].isalpha() for op in line.split()[1:]}
    ops = {name: {node.op_type for node in case.model.graph.node} for name, case in cases.items()}
    domains = {name: {node.domain for node in case.model.graph.node} for name, case in cases.items()}
    apart = {name for name, case in cases.items() if is_apart(name, case)}
    default = {name for name in cases if domains[name] <= {""}}
    of_exporters = {name for name in cases if ops[name] <= emitted}
    classical = {name for name in cases if "ai.onnx.ml" in domains[name]}

    def share(of: str, names: set[str], least: float = 0.0) -> Share:
        return Share(of, len(names & good), len(names), least)

    return [
        share("all", set(cases)),
        share("of ops that exporters write, all", of_exporters),
        share("of ops that exporters write, without what is set apart", of_exporters - apart, 0.97),
        share("of the default domain, all", default),
        share("of the default domain, without what is set apart", default - apart, 0.85),
        share("of ai.onnx.ml", classical, 1.0),
        share("set apart (sequences, optionals, strings, narrow types, training, random)", apart),
    ]


def test_promised_shares() -> None:
    for share in shares():
        assert share.passed >= share.least * share.count, str(share)


def documented() -> tuple[str, str]:
    """Return the document as it is and as it should be, with the shares between its marks."""
    text = DOCUMENT.read_text(encoding="utf-8")
    head, rest = text.split(START)
    note, old = rest.split("-->", 1)
    lines = "\n".join(f"- {share}" for share in shares())
    return text, f"{head}{START}{note}-->\n\n{lines}\n\n{END}{old.split(END)[1]}"


def test_the_document_gives_the_shares() -> None:
    found, wanted = documented()
    assert found == wanted, REWRITE


def reason_for(name: str, error: BaseException) -> str:
    said = f"{name} {type(error).__name__}: {' '.join(str(error).split())}"
    return next((reason for mark, reason in REASONS if mark in said), said.removeprefix(f"{name} ")[:200])


def main() -> None:
    """Run every test, rewrite both tables and the shares in the document, and print them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    good: list[str] = []
    groups: dict[str, list[str]] = {}
    for name in sorted(node_cases()):
        try:
            check_case(name)
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - any failure is a row of the table
            groups.setdefault(reason_for(name, error), []).append(name)
        else:
            good.append(name)
    PASSING.write_text("\n".join(good) + "\n")
    blocks = ["\n".join([f"# {reason}", *names]) for reason, names in sorted(groups.items())]
    FAILING.write_text("\n\n".join(blocks) + "\n")
    DOCUMENT.write_text(documented()[1], encoding="utf-8")
    sys.stdout.write("\n".join(map(str, shares())) + "\n")


if __name__ == "__main__":
    main()
