"""LSTM, GRU and RNN as loops over time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node
from modelport.convert.onnx_to_tf.registry import lowers
from modelport.convert.onnx_to_tf.value import Tensor

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Cell:
    """One direction of a recurrent op.

    Attributes:
        projected: What the input adds to the gates at each step, [time, batch, gates * hidden].
        recurrent: Matrix from the hidden state to the gates, [hidden, gates * hidden].
        bias: What the hidden state's own bias adds, [gates * hidden].
        peephole: Weights from the LSTM's cell state to its gates, [3 * hidden], or None.
        functions: Activations, in ONNX's order.
        clip: Bound on what enters an activation, or None.
    """

    projected: Tensor
    recurrent: Tensor
    bias: Tensor
    peephole: Tensor | None
    functions: list[Function]
    clip: float | None

    def bounded(self, x: Tensor) -> Tensor:
        """Return what enters an activation, within the bound."""
        return x if self.clip is None else tf.clip_by_value(x, -self.clip, self.clip)


Step = Callable[[Node, Cell, Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]


def _lstm_step(node: Node, cell: Cell, given: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    h, c = state
    f, g, out = cell.functions
    i_gate, o_gate, f_gate, c_gate = tf.split(given + tf.matmul(h, cell.recurrent) + cell.bias, 4, -1)
    peep_i, peep_o, peep_f = (0.0, 0.0, 0.0) if cell.peephole is None else tf.split(cell.peephole, 3)
    i = f(cell.bounded(i_gate + peep_i * c))
    forget = 1 - i if int(node.attr("input_forget", 0)) else f(cell.bounded(f_gate + peep_f * c))
    c = forget * c + i * g(cell.bounded(c_gate))
    o = f(cell.bounded(o_gate + peep_o * c))
    return o * out(c), c


def _gru_step(node: Node, cell: Cell, given: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    (h,) = state
    f, g = cell.functions
    given_z, given_r, given_h = tf.split(given, 3, -1)
    rec_z, rec_r, rec_h = tf.split(cell.recurrent, 3, -1)
    bias_z, bias_r, bias_h = tf.split(cell.bias, 3)
    z = f(cell.bounded(given_z + tf.matmul(h, rec_z) + bias_z))
    r = f(cell.bounded(given_r + tf.matmul(h, rec_r) + bias_r))
    if int(node.attr("linear_before_reset", 0)):
        proposed = g(cell.bounded(given_h + r * (tf.matmul(h, rec_h) + bias_h)))
    else:
        proposed = g(cell.bounded(given_h + tf.matmul(r * h, rec_h) + bias_h))
    return ((1 - z) * proposed + z * h,)


def _rnn_step(node: Node, cell: Cell, given: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    del node
    (h,) = state
    return (cell.functions[0](cell.bounded(given + tf.matmul(h, cell.recurrent) + cell.bias)),)


#: Per op: how many states it carries, its step, its default activations.
_KINDS: dict[str, tuple[int, Step, tuple[str, ...]]] = {
    "LSTM": (2, _lstm_step, ("Sigmoid", "Tanh", "Tanh")),
    "GRU": (1, _gru_step, ("Sigmoid", "Tanh")),
    "RNN": (1, _rnn_step, ("Tanh",)),
}


@lowers("LSTM", "GRU", "RNN")
def _recurrent(node: Node) -> Any:
    states, _, _ = _KINDS[node.op]
    batch_first = bool(node.attr("layout", 0))
    x = node.tensor(0)
    if batch_first:
        x = tf.transpose(x, [1, 0, 2])
    lengths = node.optional(4)
    directions = {b"forward": [False], b"reverse": [True], b"bidirectional": [False, True]}[
        node.attr("direction", b"forward")
    ]
    runs = [_run(node, x, lengths, number, backwards) for number, backwards in enumerate(directions)]
    everything = tf.stack([steps for steps, _ in runs], 1)
    finals = [tf.stack([final[i] for _, final in runs], 0) for i in range(states)]
    if batch_first:
        everything = tf.transpose(everything, [2, 0, 1, 3])
        finals = [tf.transpose(final, [1, 0, 2]) for final in finals]
    return everything, *finals


def _cell(node: Node, x: Tensor, number: int) -> Cell:
    w, r = node.tensor(1)[number], node.tensor(2)[number]
    bias = node.optional(3)
    given_bias, own_bias = (0.0, 0.0) if bias is None else tf.split(bias[number], 2)
    projected = tf.einsum("tbi,gi->tbg", x, w) + given_bias
    if bias is None:
        own_bias = tf.zeros([r.shape[0]], x.dtype)
    peephole = node.optional(7)
    clip = node.attr("clip", None)
    return Cell(
        projected,
        tf.transpose(r),
        own_bias,
        None if peephole is None else peephole[number],
        _functions(node, number),
        None if clip is None else float(clip),
    )


def _functions(node: Node, number: int) -> list[Function]:
    defaults = _KINDS[node.op][2]
    names = [name.decode() for name in node.attr("activations", [])] or list(defaults) * 2
    alphas, betas = list(node.attr("activation_alpha", [])), list(node.attr("activation_beta", []))
    functions = [_activation(node, name, alphas, betas) for name in names]  # all, for each takes its constants in turn
    return functions[number * len(defaults) : (number + 1) * len(defaults)]


#: Activations whose constants ONNX leaves open; all but the first have an ``activation_beta`` too.
_WITHOUT_DEFAULTS = ("ThresholdedRelu", "Affine", "ScaledTanh")


def _activation(node: Node, name: str, alphas: list[float], betas: list[float]) -> Function:
    """Return an activation; it takes its constants, if it has any, from the front of the lists."""
    plain = {
        "Sigmoid": tf.sigmoid, "Tanh": tf.tanh, "Relu": tf.nn.relu, "Softplus": tf.math.softplus,
        "Softsign": tf.math.softsign,
    }  # fmt: skip
    if name in plain:
        return plain[name]  # type: ignore[no-any-return]
    if (name in _WITHOUT_DEFAULTS and not alphas) or (name in _WITHOUT_DEFAULTS[1:] and not betas):
        raise node.fail(f"its activation {name!r} comes without constants, for which runtimes differ; set them")
    if name in {"LeakyRelu", "Elu", "ThresholdedRelu"}:
        alpha = alphas.pop(0) if alphas else {"LeakyRelu": 0.01, "Elu": 1.0}[name]
        return {
            "LeakyRelu": lambda x: tf.nn.leaky_relu(x, alpha),
            "Elu": lambda x: tf.where(x < 0, alpha * tf.math.expm1(x), x),
            "ThresholdedRelu": lambda x: tf.where(x > alpha, x, tf.zeros_like(x)),
        }[name]
    if name in {"Affine", "HardSigmoid", "ScaledTanh"}:
        a = alphas.pop(0) if alphas else 0.2
        b = betas.pop(0) if betas else 0.5
        return {
            "Affine": lambda x: a * x + b,
            "HardSigmoid": lambda x: tf.clip_by_value(a * x + b, 0, 1),
            "ScaledTanh": lambda x: a * tf.tanh(b * x),
        }[name]
    raise node.fail(f"its activation {name!r} is not known")


def _reversed(x: Tensor, lengths: Tensor | None) -> Tensor:
    if lengths is None:
        return tf.reverse(x, [0])
    return tf.reverse_sequence(x, lengths, seq_axis=0, batch_axis=1)


def _run(
    node: Node, x: Tensor, lengths: Tensor | None, number: int, backwards: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return one direction's hidden state at each step, [time, batch, hidden], and its last states."""
    count, step, _ = _KINDS[node.op]
    cell = _cell(node, _reversed(x, lengths) if backwards else x, number)
    steps, batch = tf.shape(x)[0], tf.shape(x)[1]
    hidden = cell.recurrent.shape[0]
    first = tuple(_initial(node, 5 + i, number, (batch, hidden), x.dtype) for i in range(count))
    array = tf.TensorArray(x.dtype, size=steps, element_shape=[x.shape[1], hidden])

    def body(time: Tensor, written: Any, *state: Tensor) -> tuple[Any, ...]:
        new = step(node, cell, cell.projected[time], state)
        shown = new[0]
        if lengths is not None:
            going = tf.reshape(time < tf.cast(lengths, tf.int32), [-1, 1])
            new = tuple(tf.where(going, after, before) for after, before in zip(new, state, strict=True))
            shown = tf.where(going, shown, tf.zeros_like(shown))
        return (time + 1, written.write(time, shown), *new)

    loop = tf.while_loop(lambda time, *_: time < steps, body, (tf.constant(0), array, *first))
    found = loop[1].stack()
    return (_reversed(found, lengths) if backwards else found), tuple(loop[2:])


def _initial(node: Node, index: int, number: int, shape: tuple[Tensor, int], dtype: Any) -> Tensor:
    given = node.optional(index)
    if given is None:
        batch = node.value(0).shape
        known = None if batch is None else batch[0 if node.attr("layout", 0) else 1]
        return tf.ensure_shape(tf.zeros(tf.stack(shape), dtype), [known, shape[1]])
    return given[:, number] if node.attr("layout", 0) else given[number]
