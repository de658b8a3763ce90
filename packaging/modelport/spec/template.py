"""A first spec for a model, with comments that say what else can stand in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from modelport.spec.fault import one_line
from modelport.spec.node import read_plain
from modelport_runtime.signature import TensorSpec

SIMPLE = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*")
TAIL = """
# labels: [zero, one]           # names of the classes, in order
# transform: transform.py:Transform   # pre- and postprocessing, for servers that run Python
# samples: samples.npz          # inputs by name, and expected outputs (.npz, .json, .parquet): for verify and readiness

# environment:
#   python: "3.11"
#   requirements: [numpy]       # left out: what the framework needs, in the versions installed here
#   device: cpu                 # cpu or cuda

serving:
  # batching: {max_size: 32, max_delay_ms: 5}   # left out: requests are not joined
  workers: 1
  timeout_s: 30
  max_request_mb: 16

# backends:                     # options that one server alone understands: see `modelport schema`
#   torchserve: {}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """The inputs or the outputs of a model, as far as it tells.

    Attributes:
        tensors: What is known, or an example.
        known: Whether that is all there is to say; else it is written as a comment, to be mended.
    """

    tensors: tuple[TensorSpec, ...]
    known: bool


EXAMPLE_INPUTS = Side(tensors=(TensorSpec(name="input", dtype="float32", shape=(None, 64)),), known=False)
EXAMPLE_OUTPUTS = Side(tensors=(TensorSpec(name="output", dtype="float32", shape=(None, 10)),), known=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is known of a model when its spec is first written.

    Attributes:
        name: The model's name.
        framework: Who made it.
        source: The model's path, relative to the spec.
        entrypoint: ``module:Class``, or None.
        needs_entrypoint: Whether the model cannot be loaded without one.
        needs_trust: Whether reading the model runs code, so that the spec must allow it.
        inputs: What the model takes.
        outputs: What the model gives.
    """

    name: str
    framework: str
    source: str
    entrypoint: str | None = None
    needs_entrypoint: bool = False
    needs_trust: bool = False
    inputs: Side = EXAMPLE_INPUTS
    outputs: Side = EXAMPLE_OUTPUTS


def render_template(draft: Draft) -> str:
    """Give the text of a spec; it is valid when the draft needs nothing more and its paths exist."""
    lines = [
        "# A model spec. `modelport validate` checks it, `modelport plan` shows what it makes.",
        "# Values may hold ${NAME} and ${NAME:-default} from the environment; $${ stands for a plain ${.",
        "modelport: 1",
        f"name: {render_text(draft.name)}",
        'version: "0.1.0"                # in quotes: a bare 1.10 would be read as 1.1',
        "# description: What the model does, for people.",
        "",
        "model:",
        f"  framework: {draft.framework}",
        f"  source: {render_text(draft.source)}",
        *_render_loading(draft),
        "  # sha256: …                   # 64 hex digits; checked where given",
        "",
        *_render_signature(draft),
        "",
    ]
    return "\n".join(lines) + TAIL


def render_text(text: str) -> str:
    """Give a text as a YAML scalar, in quotes where it needs them."""
    if SIMPLE.fullmatch(text) and isinstance(read_plain(text), str):
        return text
    return one_line(json.dumps(text.replace("${", "$${"), ensure_ascii=False))


def _render_loading(draft: Draft) -> Iterable[str]:
    if draft.entrypoint is not None:
        yield f"  entrypoint: {render_text(draft.entrypoint)}"
    elif draft.needs_entrypoint:
        yield "  # A state dict holds no code. Name the class that it is loaded into, from a file beside this one:"
        yield "  # entrypoint: net:Net"
    if draft.needs_trust:
        yield "  # Reading this file runs code that it holds, or makes types that are not known to be safe. Allow it"
        yield "  # where you trust who made the file:"
        yield "  # trust: true"


def _render_signature(draft: Draft) -> Iterable[str]:
    known = draft.inputs.known or draft.outputs.known
    if not (draft.inputs.known and draft.outputs.known):
        yield "# The model does not tell all that it takes and gives. Mend what is a comment under signature, and take"
        yield "# the '# ' off. In shapes -1 stands where any size is taken, and [] is a scalar; dtypes are float16 to"
        yield "# float64, int8 to int64, uint8 to uint64, bool and string."
    yield "signature:                      # -1 where any size is taken" if known else "# signature:"
    yield from _render_side("inputs", draft.inputs)
    yield from _render_side("outputs", draft.outputs)


def _render_side(name: str, side: Side) -> Iterable[str]:
    mark = "  " if side.known else "#   "
    yield f"{mark}{name}:"
    for tensor in side.tensors:
        sizes = ", ".join("-1" if size is None else str(size) for size in tensor.shape)
        yield f"{mark}  - {{name: {render_text(tensor.name)}, dtype: {tensor.dtype}, shape: [{sizes}]}}"
