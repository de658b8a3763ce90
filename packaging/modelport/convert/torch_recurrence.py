"""Recurrent layers over sequences of any length, and LSTMs with projections, as ONNX's own recurrent ops.

torch.export writes a layer out step by step where its length is dynamic, which fixes it, and the exporter forgets
projections. PyTorch packs sequences of different lengths: it cuts them and lays them end to end, in a layout that
depends on the lengths, which no exporter follows. ONNX's ops take padded sequences and their lengths instead. While a
model is traced, what PyTorch calls packed therefore stays padded here (`Unpacked`), and its lengths go with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from modelport.errors import ConversionError

Tensor = Any  # a torch.Tensor; torch's types are not read


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """How ONNX writes one of PyTorch's recurrent layers.

    Attributes:
        op: ONNX's op.
        gates: PyTorch's gates in ONNX's order.
        attributes: What the op is told.
    """

    op: str
    gates: tuple[int, ...]
    attributes: dict[str, Any]


_CELLS = {
    "lstm": Cell(op="LSTM", gates=(0, 3, 1, 2), attributes={}),
    "gru": Cell(op="GRU", gates=(1, 0, 2), attributes={"linear_before_reset": 1}),
    "rnn_tanh": Cell(op="RNN", gates=(0,), attributes={"activations": ["Tanh"]}),
    "rnn_relu": Cell(op="RNN", gates=(0,), attributes={"activations": ["Relu"]}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """What a recurrent layer of PyTorch is told.

    Attributes:
        cell: What runs at each step.
        weights: For each layer and direction: of the input, of the state, two biases where there are, a projection.
        biased: Whether there are biases.
        count: How many layers.
        both: Whether it also runs backwards.
    """

    cell: Cell
    weights: Sequence[Tensor]
    biased: bool
    count: int
    both: bool

    def run(self, x: Tensor, states: Sequence[Tensor], lengths: Tensor | None) -> tuple[Tensor, ...]:
        """Run all layers.

        Args:
            x: ``[time, batch, width]``.
            states: What each layer and direction begins with; two tensors for an LSTM.
            lengths: ``[batch]``, where sequences end before ``time``.

        Returns:
            ``[time, batch, directions * width]``, zero behind a sequence's end; then the last states.
        """
        import torch

        directions = 2 if self.both else 1
        each = len(self.weights) // (self.count * directions)
        last: list[tuple[Tensor, ...]] = []
        for layer in range(self.count):
            steps = []
            for direction in range(directions):
                place = layer * directions + direction
                weights = self.weights[place * each : (place + 1) * each]
                begin = [state[place] for state in states]
                found, *state = _run_cell(self.cell, x, begin, lengths, weights, self.biased, direction == 1)
                steps.append(found)
                last.append(tuple(state))
            x = torch.cat(steps, -1)
        return (x, *(torch.stack(parts) for parts in zip(*last, strict=True)))


def _run_cell(
    cell: Cell,
    x: Tensor,
    begin: Sequence[Tensor],
    lengths: Tensor | None,
    weights: Sequence[Tensor],
    biased: bool,
    backwards: bool,
) -> tuple[Tensor, ...]:
    import torch

    of_input, of_state = weights[:2]
    biases = weights[2:4] if biased else [torch.zeros_like(of_input[:, 0])] * 2
    projection = weights[-1] if len(weights) % 2 else None
    hidden = of_state.shape[0] // len(cell.gates)
    if projection is not None:
        x, begin = _with_state(x, begin, lengths, hidden, backwards)
        of_input, of_state = torch.cat([of_input, of_state], 1), of_state @ projection
    time, batch = x.shape[:2]
    state = [1, batch, hidden]
    steps, *last = torch.onnx.ops.symbolic_multi_out(
        cell.op,
        [
            x,
            _in_order(of_input, cell, hidden).unsqueeze(0),
            _in_order(of_state, cell, hidden).unsqueeze(0),
            torch.cat([_in_order(bias, cell, hidden) for bias in biases]).unsqueeze(0),
            None if lengths is None else lengths.to(torch.int32),
            *(part.unsqueeze(0) for part in begin),
        ],
        {"hidden_size": hidden, "direction": "reverse" if backwards else "forward", **cell.attributes},
        dtypes=[x.dtype] * (1 + len(begin)),
        shapes=[[time, 1, batch, hidden], *([state] * len(begin))],
    )
    found, ends = steps.squeeze(1), [part.squeeze(0) for part in last]
    if projection is not None:
        found, ends[0] = found @ projection.mT, ends[0] @ projection.mT
    return (found, *ends)


def _in_order(weight: Tensor, cell: Cell, hidden: int) -> Tensor:
    """Give rows of PyTorch's gates in ONNX's order."""
    import torch

    return torch.cat([weight.narrow(0, gate * hidden, hidden) for gate in cell.gates])


def _with_state(
    x: Tensor,
    begin: Sequence[Tensor],
    lengths: Tensor | None,
    hidden: int,
    backwards: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Give the projected state to the first step as further inputs: ONNX's op begins with one that is not projected.

    Its weights then stand beside those of the inputs, and the op itself begins with zeros.
    """
    import torch

    state, *others = begin
    time = torch.arange(x.shape[0]).unsqueeze(1)
    first = time == 0
    if backwards:
        first = time == ((lengths if lengths is not None else torch.full_like(x[0, :, 0], x.shape[0])) - 1)
    given = torch.where(first.unsqueeze(-1), state, 0.0).expand(x.shape[0], x.shape[1], state.shape[-1])
    return torch.cat([x, given], -1), [torch.zeros_like(state[:, :1]).expand(-1, hidden), *others]


def run_lstm(*arguments: Any) -> tuple[Tensor, ...]:
    """Do ``aten.lstm.input``."""
    return _run_padded(_CELLS["lstm"], *arguments)


def _run_padded(  # noqa: PLR0913, PLR0917 - the arguments of torch's own operation
    cell: Cell,
    x: Tensor,
    states: Any,
    weights: Sequence[Tensor],
    biased: bool,
    count: int,
    dropout: float,  # noqa: ARG001 - of training alone
    train: bool,  # noqa: ARG001 - of training alone
    both: bool,
    batch_first: bool,
) -> tuple[Tensor, ...]:
    layers = Layers(cell=cell, weights=weights, biased=biased, count=count, both=both)
    x = x.transpose(0, 1) if batch_first else x
    steps, *last = layers.run(x, states if cell.op == "LSTM" else [states], None)
    return (steps.transpose(0, 1) if batch_first else steps, *last)


def _cannot_unroll(name: str, x: Tensor, states: Any, *settings: Any) -> bool:
    """Tell what torch.export would fix to the example's length, and where the exporter forgets the projection."""
    batch_first = settings[-1]
    projected = name == "lstm" and states[0].shape[-1] != states[1].shape[-1]
    return projected or not isinstance(x.shape[1 if batch_first else 0], int)


class Unpacked:
    """What stands for the batch sizes of a packed sequence: the lengths, in the same order of rows.

    ``PackedSequence`` and PyTorch's layers ask it for a few things; whatever else they ask has no answer.

    Attributes:
        lengths: ``[batch]``.
        time: How many steps the padded sequence has; the packed data stays ``[time * batch, …]``.
    """

    def __init__(self, lengths: Tensor, time: Any) -> None:
        self.lengths, self.time = lengths, time

    @property
    def device(self) -> Any:
        """Where lengths always are."""
        import torch

        return torch.device("cpu")

    def __getitem__(self, step: int) -> Any:
        """Give how many sequences go on at the first step, which is all of them."""
        if step:
            raise ConversionError("it reads the batch sizes of a packed sequence, which follow from the lengths")
        return self.lengths.shape[0]

    def size(self, _: int) -> Any:
        """Give how many steps there are: the greatest of the lengths."""
        import torch

        longest = self.lengths.max().item()
        torch._check(longest <= self.time)  # noqa: SLF001 - the one way to tell torch.export
        return longest

    @classmethod
    def __torch_function__(cls, function: Any, _: Any, __: Any = (), ___: Any = None) -> Any:
        """Make PyTorch's argument parser take this for a tensor; `unpacking` answers what is asked of it."""
        raise ConversionError(f"{function} of a packed sequence is not known here; unpack it with pad_packed_sequence")


@contextlib.contextmanager
def unpacking(module: Any) -> Iterator[None]:
    """Trace with sequences that stay padded, and layers that go by their lengths.

    Args:
        module: What is traced. Its recurrent layers do not check their inputs meanwhile: for a packed sequence that
            check makes a plain number of the batch, which would then be fixed.
    """
    import torch

    layers = [part for part in module.modules() if isinstance(part, torch.nn.RNNBase)]
    for layer in layers:
        layer.check_forward_args = lambda *_: None
    try:
        with _mode():
            yield
    finally:
        for layer in layers:
            del layer.check_forward_args


def _mode() -> Any:
    from torch.overrides import TorchFunctionMode

    class Unpacking(TorchFunctionMode):  # type: ignore[misc]  # torch's types are not read
        def __torch_function__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
            """Answer in the place of PyTorch's own functions for packed sequences, and for projected states."""
            name = getattr(function, "__name__", "")
            if name == "_pack_padded_sequence":
                return _pack(*args)
            if name == "_pad_packed_sequence" and isinstance(args[1], Unpacked):
                return _pad(*args)
            if name in _CELLS and isinstance(args[1], Unpacked):
                return _run_packed(_CELLS[name], *args)
            if name in _CELLS and _cannot_unroll(name, *args):
                return _run_padded(_CELLS[name], *args)
            return function(*args, **(kwargs or {}))

    return Unpacking()


def _pack(x: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Unpacked]:
    x = x.transpose(0, 1) if batch_first else x
    return x.flatten(0, 1), Unpacked(lengths, x.shape[0])


def _pad(
    x: Tensor,
    unpacked: Unpacked,
    batch_first: bool,
    value: float,
    total: Any,
) -> tuple[Tensor, Tensor]:
    """Cut a padded sequence to a length, or lengthen it, and fill it up behind each row's end."""
    import torch

    x = x.unflatten(0, (unpacked.time, unpacked.lengths.shape[0]))
    missing = torch.full((1, *x.shape[1:]), value, dtype=x.dtype).expand(total, *x.shape[1:])
    time = torch.arange(total)
    inside = (time.unsqueeze(1) < unpacked.lengths).reshape(total, x.shape[1], *([1] * (x.dim() - 2)))
    cut = torch.cat([x, missing]).index_select(0, time)
    found = torch.where(inside, cut, value)
    return (found.transpose(0, 1) if batch_first else found), unpacked.lengths


def _run_packed(  # noqa: PLR0913, PLR0917 - the arguments of torch's own operation
    cell: Cell,
    x: Tensor,
    unpacked: Unpacked,
    states: Any,
    weights: Sequence[Tensor],
    biased: bool,
    count: int,
    dropout: float,  # noqa: ARG001 - of training alone
    train: bool,  # noqa: ARG001 - as in torch
    both: bool,
) -> tuple[Tensor, ...]:
    layers = Layers(cell=cell, weights=weights, biased=biased, count=count, both=both)
    x = x.unflatten(0, (unpacked.time, unpacked.lengths.shape[0]))
    steps, *last = layers.run(x, states if cell.op == "LSTM" else [states], unpacked.lengths)
    return (steps.flatten(0, 1), *last)
