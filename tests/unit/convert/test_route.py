from __future__ import annotations

import subprocess
import sys

import pytest

from modelport.convert.route import EDGES, find_route
from modelport.errors import ConversionError


@pytest.mark.parametrize(
    ("source", "described"),
    [
        ("torchscript", "torchscript → onnx → saved_model"),
        ("exported_program", "exported_program → onnx → saved_model"),
        ("state_dict", "state_dict → onnx → saved_model"),
        ("sklearn", "sklearn → onnx → saved_model"),
        ("onnx", "onnx → saved_model"),
        ("keras", "keras → saved_model"),
    ],
)
def test_shortest_route(source: str, described: str) -> None:
    assert find_route(source).describe() == described


def test_no_conversion_is_needed_for_the_target_itself() -> None:
    route = find_route("saved_model")
    assert len(route) == 0
    assert route.describe() == "as it is"


def test_unknown_format_names_what_can_be_converted() -> None:
    with pytest.raises(ConversionError, match=r"'cobol'.*torchscript"):
        find_route("cobol")


def test_every_edge_names_a_module() -> None:
    import importlib

    for edge in EDGES:
        assert importlib.import_module(f"modelport.convert.{edge.name}")


def test_support_check_imports_no_tensorflow() -> None:
    code = (
        "import sys, onnx\n"
        "from modelport.convert.onnx_to_tf import unsupported_ops\n"
        "h = onnx.helper\n"
        "x = h.make_tensor_value_info('x', 1, [1]); y = h.make_tensor_value_info('y', 1, [1])\n"
        "m = h.make_model(h.make_graph([h.make_node('Nonsense', ['x'], ['y'])], 'g', [x], [y]))\n"
        "assert [u.op for u in unsupported_ops(m)] == ['Nonsense']\n"
        "assert 'tensorflow' not in sys.modules and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
