"""Time of a lowered SavedModel, loaded in this process, beside ONNX Runtime on the ONNX model that it was made from.

Usage: python benchmarks/lowering.py [ROUNDS [THREADS]]

Both compute the same batch of 32 with the same number of threads. Each round times both, one after the other, and who
goes first changes from round to round; a round's ratio is therefore of two neighbours in time. Prints the median of
each, the median of the ratios with their quartiles, and ends with 1 where a limit is passed.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from zoo import Encoder, Entry, resnet18

from modelport.convert.onnx_to_tf import write_saved_model
from modelport.convert.sklearn_to_onnx import export_sklearn
from modelport.convert.torch_to_onnx import export_torch
from modelport_runtime.signature import TensorSpec

BATCH = 32
Run = Callable[[], Any]


def torch_model(entry: Entry, length: int) -> tuple[Any, dict[str, Any]]:
    """Return the ONNX model of a module and a batch for it."""
    specs = [
        TensorSpec(name=name, dtype=dtype, shape=tuple(None if size == -1 else size for size in shape))
        for name, dtype, shape in entry.inputs
    ]
    model = export_torch(
        Path(entry.name), format="state_dict", load=entry.module, inputs=specs, sample=entry.arrays(2, length),
        output_names=entry.outputs,
    )  # fmt: skip
    return model, entry.arrays(BATCH, length)


def resnet() -> tuple[Any, dict[str, Any]]:
    """ResNet-18 at full width on images of 224 by 224."""
    shape = (None, 3, 224, 224)
    return torch_model(Entry(name="resnet18", make=resnet18, inputs=(("image", "float32", shape),)), 0)


def encoder() -> tuple[Any, dict[str, Any]]:
    """Four layers of width 256 with eight heads over 64 steps."""
    made = Entry(name="encoder", make=lambda: Encoder(256, 8, 4), inputs=(("x", "float32", (None, -1, 256)),))
    return torch_model(made, 64)


def forest() -> tuple[Any, dict[str, Any]]:
    """A hundred trees grown to their full depth on 20 columns and five classes."""
    from sklearn.datasets import make_classification
    from sklearn.ensemble import RandomForestClassifier

    rows, classes = make_classification(5000, 20, n_informative=10, n_classes=5, random_state=0)
    estimator = RandomForestClassifier(100, random_state=0, n_jobs=1).fit(rows, classes)
    x = rows[:BATCH].astype(np.float32)
    inputs = [TensorSpec(name="x", dtype="float32", shape=(None, 20))]
    outputs = [
        TensorSpec(name="label", dtype="int64", shape=(None,)),
        TensorSpec(name="probabilities", dtype="float32", shape=(None, 5)),
    ]
    return export_sklearn(estimator, inputs=inputs, outputs=outputs), {"x": x}


#: What is measured, and how many times ONNX Runtime's time is the most that is taken.
CASES = {"resnet18": (resnet, 1.3), "encoder": (encoder, 1.3), "forest": (forest, 3.0)}


def runners(model: Any, batch: dict[str, Any], folder: Path, threads: int) -> tuple[Run, Run]:
    """Return functions that run the SavedModel and ONNX Runtime once; their answers have been compared."""
    import onnxruntime
    import tensorflow as tf

    outputs = [value.name for value in model.graph.output]
    write_saved_model(model, folder, input_names=list(batch), output_names=outputs)
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    tensors = {name: tf.constant(array) for name, array in batch.items()}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run_tensorflow() -> dict[str, Any]:
        return {name: tensor.numpy() for name, tensor in signature(**tensors).items()}

    def run_onnx() -> list[Any]:
        found: list[Any] = session.run(outputs, batch)
        return found

    mine = run_tensorflow()
    for name, theirs in zip(outputs, run_onnx(), strict=True):
        np.testing.assert_allclose(mine[name], theirs, rtol=1e-3, atol=1e-4)
    return run_tensorflow, run_onnx


def timed(run: Run, seconds: float) -> float:
    """Return the mean time of one run, of as many as fill about `seconds`."""
    start = time.perf_counter()
    count = 0
    while count == 0 or time.perf_counter() - start < seconds:
        run()
        count += 1
    return (time.perf_counter() - start) / count


def measure(runs: tuple[Run, Run], rounds: int) -> list[tuple[float, float]]:
    """Return the two times of each round."""
    for run in runs:  # once unmeasured: both prepare at their first runs
        timed(run, 0.5)
    times = []
    for turn in range(rounds):
        order = (0, 1) if turn % 2 == 0 else (1, 0)
        taken = {which: timed(runs[which], 0.2) for which in order}
        times.append((taken[0], taken[1]))
    return times


def main() -> int:
    """Measure every case."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else os.cpu_count() or 1
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    held = True
    print(f"batch {BATCH}, {threads} threads, {rounds} rounds")
    for name, (make, limit) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            times = measure(runners(*make(), Path(folder) / "1", threads), rounds)
        ratios = [ours / theirs for ours, theirs in times]
        low, middle, high = statistics.quantiles(ratios, n=4)
        ours, theirs = (1000 * statistics.median(column) for column in zip(*times, strict=True))
        held &= middle <= limit
        print(
            f"{name:9} SavedModel {ours:8.2f} ms, ONNX Runtime {theirs:8.2f} ms, "
            f"ratio {middle:.2f} ({low:.2f} to {high:.2f}), at most {limit}",
            flush=True,
        )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
