"""Serve an artifact, ask it every sample over every protocol, and measure how far the answers are from the truth."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from modelport.artifact import Artifact, changed_files
from modelport.backend import Backend, Selective, ServeSettings
from modelport.client.base import Client, ClientError, Overloaded
from modelport.console import muted
from modelport.errors import ServerFailed, SpecError
from modelport.model import Model
from modelport.plan import Copied
from modelport.run.ports import choose_ports
from modelport.run.service import running
from modelport.samples import Samples, load_samples
from modelport.verify.compare import Tensors, accuracy, argmax_agreement, compare, compare_joined, join
from modelport.verify.doubts import (
    find_sameness,
    find_weaknesses,
    refuse_neighbourly,
    refuse_numberless,
    refuse_unsteady,
)

ALONE = 32  # at most so many samples, and half of them, are sent one by one, for the latency; the rest in batches of
BATCH = 32
TOGETHER = 8  # callers at a time, where a server joins their requests
ANSWER_S = 30.0  # the least time that an answer is given
PATIENCE_S = 5.0  # longer than the server's own time-out, so that its words arrive


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far an answer may be from the framework's: by ``atol + rtol · |right|``.

    Raises:
        SpecError: A part is negative, NaN or infinite: every answer would be within it, or none.
    """

    atol: float
    rtol: float

    def __post_init__(self) -> None:
        for name, value in (("atol", self.atol), ("rtol", self.rtol)):
            if not 0 <= value < math.inf:
                raise SpecError(f"the tolerance {name} must be a finite number from 0 on, got {value:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """The questions and the right answers.

    Attributes:
        samples: All samples.
        spans: First and last-but-one sample of each request.
        right: The framework's answer to each request.
        names: Names of the classes.
        tolerance: How far an answer may be off.
        joined: Whether servers join requests, so that they are also asked several at a time.
        timeout_s: The most seconds for one answer.
    """

    samples: Samples
    spans: tuple[tuple[int, int], ...]
    right: tuple[Tensors, ...]
    names: tuple[str, ...]
    tolerance: Tolerance
    joined: bool = False
    timeout_s: float = ANSWER_S

    @property
    def accuracy(self) -> float | None:
        """The framework's own accuracy, where labels are there."""
        truth = self.samples.labels
        return None if truth is None else accuracy(join(self.right), truth, self.names)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What agreement on these samples does not tell."""
        found = find_weaknesses(self.right, self.tolerance.atol)
        if self.samples.labels is not None and self.accuracy is None:
            found += ("labels: no output gives one class for each of them, so there is no accuracy",)
        if self.samples.rows and self.samples.count == 1:
            found += ("samples: there is one row, so no server is asked for several at once; two or more tell",)
        if self.samples.rows:
            found += find_sameness(self.right, self.samples.count)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one backend answered over one protocol.

    Attributes:
        backend: The backend's name.
        protocol: ``rest`` or ``grpc``.
        server: Which program answered.
        samples: How many samples were answered.
        max_abs: Largest absolute difference from the framework.
        max_rel: Largest relative one.
        argmax: Share of rows whose highest score stands in the same place.
        accuracy: Share of rows that are right, where labels are there.
        median_ms: Median time of a request with one sample, in milliseconds.
        skipped: Why this protocol was not asked: it cannot carry the model's tensors. Empty when it was.
        faults: Why it failed; empty when it passed.
    """

    backend: str
    protocol: str
    server: str = ""
    samples: int = 0
    max_abs: float | None = None
    max_rel: float | None = None
    argmax: float | None = None
    accuracy: float | None = None
    median_ms: float | None = None
    skipped: str = ""
    faults: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether every answer was within tolerance."""
        return not self.faults


def require_samples(model: Model) -> Copied:
    """Give the samples' file.

    Raises:
        SpecError: The spec names none.
    """
    if model.samples is None:
        raise SpecError(
            "samples: verify needs some, and the spec names none. Save inputs with "
            "numpy.savez('samples.npz', <input name>=array, …) and write samples: samples.npz"
        )
    return model.samples


def prepare(model: Model, tolerance: Tolerance) -> Exam:
    """Read the samples and ask the framework.

    Raises:
        SpecError: The spec names no samples.
        CheckFailed: The framework's own answers are nothing that a server could be held to.
    """
    from modelport.frameworks import reference

    samples = load_samples(require_samples(model).path, model.served)
    serving = model.spec.serving
    largest = BATCH if serving.batching is None else min(BATCH, serving.batching.max_size)
    joined = serving.batching is not None and samples.rows and model.served.batched
    spans = plan_requests(samples, largest)
    limits = {"atol": tolerance.atol, "rtol": tolerance.rtol}
    with muted():
        answer = reference(model)
        right = tuple(answer(samples.request(*span)) for span in spans)
        refuse_numberless(right)
        refuse_unsteady(answer, samples.request(*spans[0]), right[0], **limits)
        if joined:
            refuse_neighbourly(answer, samples, largest, **limits)
    return Exam(
        samples=samples,
        spans=spans,
        right=right,
        names=model.spec.labels,
        tolerance=tolerance,
        joined=joined,
        timeout_s=max(ANSWER_S, serving.timeout_s + PATIENCE_S),
    )


def plan_requests(samples: Samples, batch: int) -> tuple[tuple[int, int], ...]:
    """Cut samples into requests: their first and last-but-one row; the first ones alone, the rest in batches.

    At most half go alone, or a model that only takes single rows would pass on few samples.
    """
    alone = min(ALONE, (samples.count + 1) // 2) if samples.rows else samples.count
    rest = range(alone, samples.count, batch)
    return (*((i, i + 1) for i in range(alone)), *((i, min(i + batch, samples.count)) for i in rest))


def examine_artifact(
    backend: Backend, artifact: Artifact, exam: Exam, *, note: Callable[[str], None], log: Callable[[str], None] | None
) -> list[Row]:
    """Serve an artifact on free ports and ask it everything; a row a protocol.

    Args:
        backend: Who serves.
        artifact: What is served.
        exam: Questions and right answers.
        note: Told what happens, for progress.
        log: Gets the server's lines, or None.
    """
    tampered = tuple(
        f"{artifact.path / name} is not the file that was built; build again" for name in changed_files(artifact)
    )
    settings = ServeSettings(ports=choose_ports(dict.fromkeys(backend.default_ports, 0), "127.0.0.1"))
    plan = backend.service(artifact, settings)
    skipped = backend.unable(artifact) if isinstance(backend, Selective) else {}
    blank = {name: Row(backend=backend.name, protocol=name, server=plan.server) for name in backend.protocols}
    if blank.keys() <= skipped.keys():
        return [replace(row, faults=(f"nothing was asked: {skipped[name]}",)) for name, row in blank.items()]
    try:
        note(f"{backend.name}: starting {plan.server}")
        with running(plan, settings.host, log=log) as service:
            asked = [name for name in blank if name not in skipped]
            clients = {name: backend.client(plan.endpoints[name], timeout_s=exam.timeout_s) for name in asked}
            service.wait_ready(lambda: all(client.ready() for client in clients.values()))
            rows = [replace(blank[name], skipped=reason) for name, reason in skipped.items()]
            for protocol, client in clients.items():
                note(f"{backend.name}: {exam.samples.count} samples over {protocol}")
                with closing(client):
                    rows.append(examine(client, exam, blank[protocol]))
                service.check_alive()
    except ServerFailed as error:
        rows = [replace(row, faults=(str(error),)) for row in blank.values()]
    return [_with_faults(row, tampered) for row in rows]


def examine(client: Client, exam: Exam, row: Row) -> Row:
    """Send every request of the exam to one client and measure the answers; several at a time where they are joined."""
    answers: list[Tensors] = []
    times: list[float] = []
    for start, stop in exam.spans:
        request = exam.samples.request(start, stop)
        began = time.perf_counter()
        try:
            answers.append(client.predict(request))
        except ClientError as error:
            return _with_faults(row, (f"samples {start} to {stop - 1}: {type(error).__name__}: {error}",))
        if stop - start == 1:
            times.append(time.perf_counter() - began)
    together = _ask_together(client, exam) if exam.joined else ()
    return _with_faults(_measured(row, answers, times, exam), (*_unexpected(answers, exam), *together))


def _ask_together(client: Client, exam: Exam) -> tuple[str, ...]:
    """Ask the samples that went alone once more, several at a time, so that the server joins them; give the faults."""

    def ask(question: tuple[tuple[int, int], Tensors]) -> tuple[str, ...]:
        (start, stop), right = question
        try:
            answer = client.predict(exam.samples.request(start, stop))
        except Overloaded:  # it may say so, as it does to its callers
            return ()
        except ClientError as error:
            return (f"sample {start}: {type(error).__name__}: {error}",)
        found = compare_joined(answer, right, atol=exam.tolerance.atol, rtol=exam.tolerance.rtol).faults
        return tuple(f"sample {start}: {fault}" for fault in found)

    alone = [(span, right) for span, right in zip(exam.spans, exam.right, strict=True) if span[1] - span[0] == 1]
    with ThreadPoolExecutor(TOGETHER) as pool:
        faults = [fault for found in pool.map(ask, alone) for fault in found]
    return tuple(f"asked with others at the same time, {fault}" for fault in faults[:3])


def _measured(row: Row, answers: list[Tensors], times: list[float], exam: Exam) -> Row:
    tolerance = {"atol": exam.tolerance.atol, "rtol": exam.tolerance.rtol}
    parts = [compare(answer, right, **tolerance) for answer, right in zip(answers, exam.right, strict=True)]
    faults = tuple(fault for part in parts for fault in part.faults)[:3]
    values: dict[str, Any] = {
        "samples": exam.samples.count,
        "max_abs": max(part.max_abs for part in parts),
        "max_rel": max(part.max_rel for part in parts),
        "median_ms": statistics.median(times) * 1000 if times else None,
    }
    if not faults:
        right = join(exam.right)
        joined = join(answers)
        together = {
            name: joined[name] for name in right if name in joined
        }  # servers give outputs in an order of their own
        truth = exam.samples.labels
        values["argmax"] = argmax_agreement(together, right)
        values["accuracy"] = None if truth is None else accuracy(together, truth, exam.names)
    return Row(backend=row.backend, protocol=row.protocol, server=row.server, faults=faults, **values)


def _unexpected(answers: list[Tensors], exam: Exam) -> tuple[str, ...]:
    """Compare with the expected outputs that the samples file holds."""
    expected: Mapping[str, np.ndarray[Any, Any]] = exam.samples.expected
    faults = []
    for (start, stop), answer in zip(exam.spans, answers, strict=True):
        right = {name: _part(exam.samples, value, start, stop) for name, value in expected.items()}
        given = {name: answer[name] for name in right if name in answer}
        difference = compare(given, right, atol=exam.tolerance.atol, rtol=exam.tolerance.rtol)
        which = f"sample {start}" if stop == start + 1 else f"samples {start} to {stop - 1}"
        faults += [f"expected outputs of {which}: {fault}" for fault in difference.faults]
    return tuple(faults[:3])


def _part(samples: Samples, value: np.ndarray[Any, Any], start: int, stop: int) -> np.ndarray[Any, Any]:
    return value[start:stop] if samples.rows else (value[start] if samples.count > 1 else value)


def _with_faults(row: Row, faults: tuple[str, ...]) -> Row:
    return replace(row, faults=(*row.faults, *faults))
