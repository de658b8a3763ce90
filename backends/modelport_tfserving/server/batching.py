"""Joins the rows of concurrent requests into one run of the model, and hands each request its own rows back."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from modelport_tfserving.server.configs import BatchingParameters
from modelport_tfserving.server.metrics import Metrics
from modelport_tfserving.server.servable import Runner
from modelport_tfserving.server.statuses import (
    Code,
    ServingError,
    failed_precondition,
    from_exception,
    invalid_argument,
)
from modelport_tfserving.server.tensors import Array

# The tensors that are fed and those that are fetched: what a signature's own run is known by.
RunKind = tuple[frozenset[str], frozenset[str]]


@dataclass
class _Task:
    """The rows of one request (or of a piece of a large one), waiting for its batch."""

    feeds: Mapping[str, Array]
    size: int
    deadline: float | None
    enqueued: float = field(default_factory=time.monotonic)
    done: threading.Event = field(default_factory=threading.Event)
    running: bool = False
    results: list[Array] = field(default_factory=list)
    error: ServingError | None = None


@dataclass
class _Batch:
    tasks: list[_Task] = field(default_factory=list)
    size: int = 0
    opened: float = field(default_factory=time.monotonic)


@dataclass
class _Queue:
    """The batches of one kind of run: the same model, tensors, types and row shapes (ranks, where rows are padded)."""

    runner: Runner
    fetches: tuple[str, ...]
    parameters: BatchingParameters
    batches: deque[_Batch] = field(default_factory=deque)


class BatchScheduler:
    """A pool of threads that runs the batches of every model; its size is `parameters.threads`."""

    def __init__(self, parameters: BatchingParameters, metrics: Metrics) -> None:
        self.parameters = parameters
        self._metrics = metrics
        self._queues: dict[object, _Queue] = {}
        self._changed = threading.Condition()
        self._stopping = False
        for number in range(parameters.threads):
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True).start()

    def stop(self) -> None:
        """Let the threads end once their present batch is done."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def wrap(
        self,
        runner: Runner,
        parameters: BatchingParameters | None = None,
        batched: Collection[RunKind] | None = None,
    ) -> Runner:
        """Return a runner that batches what it is given before `runner` runs it.

        `parameters` are the model's own, but for the threads; the scheduler's where there are none. Only the kinds
        of run in `batched` are batched, the others run as they come; None means all.
        """
        chosen = parameters or self.parameters

        def run_batched(feeds: Mapping[str, Array], fetches: Sequence[str], deadline: float | None) -> list[Array]:
            if batched is not None and (frozenset(feeds), frozenset(fetches)) not in batched:
                return runner(feeds, fetches, deadline)
            size = _count_rows(feeds)
            if size == 0:
                return runner(feeds, fetches, deadline)
            tasks = self._submit(_Queue(runner, tuple(fetches), chosen), feeds, size, deadline)
            pieces = [_await(task) for task in tasks]
            return pieces[0] if len(pieces) == 1 else [np.concatenate(rows) for rows in zip(*pieces, strict=True)]

        return run_batched

    def _submit(self, kind: _Queue, feeds: Mapping[str, Array], size: int, deadline: float | None) -> list[_Task]:
        limit, most = kind.parameters.max_execution_size, kind.parameters.max_size
        if size > most:
            raise invalid_argument(f"Task size {size} is larger than maximum input batch size {most}")
        self._metrics.input_batch_size.observe(size)
        tasks = [
            _Task(
                {name: array[start : start + limit] for name, array in feeds.items()},
                min(limit, size - start),
                deadline,
            )
            for start in range(0, size, limit)
        ]
        pad = kind.parameters.pad_inputs
        rows = tuple(
            (name, array.dtype.str, array.dtype.name, array.ndim if pad else array.shape[1:])
            for name, array in feeds.items()
        )
        with self._changed:
            queue = self._queues.setdefault((id(kind.runner), kind.fetches, rows), kind)
            for task in tasks:
                self._enqueue(queue, task)
            self._changed.notify_all()
        return tasks

    def _enqueue(self, queue: _Queue, task: _Task) -> None:
        batches = queue.batches
        if not batches or batches[-1].size + task.size > queue.parameters.max_execution_size:
            if len(batches) >= queue.parameters.max_enqueued:
                raise ServingError(
                    Code.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full"
                )
            batches.append(_Batch())
        batches[-1].tasks.append(task)
        batches[-1].size += task.size

    def _work(self) -> None:
        while True:
            with self._changed:
                chosen, wait = self._choose()
                while chosen is None:
                    if self._stopping:
                        return
                    self._changed.wait(wait)
                    chosen, wait = self._choose()
            self._run(*chosen)

    def _choose(self) -> tuple[tuple[_Queue, _Batch] | None, float | None]:
        """Return the batch to run now, or None and the seconds until one is due (None: nothing waits)."""
        now = time.monotonic()
        wait: float | None = None
        for key, queue in list(self._queues.items()):
            oldest = queue.batches[0] if queue.batches else None
            if oldest is None:
                del self._queues[key]
                continue
            due = oldest.opened + queue.parameters.timeout_micros / 1e6
            full = oldest.size >= queue.parameters.max_execution_size or len(queue.batches) > 1
            if full or now >= due:
                queue.batches.popleft()
                # Back to the end of the line, so that one busy model cannot starve the others.
                del self._queues[key]
                if queue.batches:
                    self._queues[key] = queue
                return (queue, oldest), None
            wait = due - now if wait is None else min(wait, due - now)
        return None, wait

    def _run(self, queue: _Queue, batch: _Batch) -> None:
        try:
            self._split(queue, batch, self._execute(queue, batch))
        except Exception as error:  # noqa: BLE001 (whatever went wrong belongs to the requests, not this thread)
            for task in batch.tasks:
                task.error = from_exception(error)
        for task in batch.tasks:
            task.done.set()

    def _execute(self, queue: _Queue, batch: _Batch) -> list[Array]:
        now = time.monotonic()
        if all(task.deadline is not None and task.deadline <= now for task in batch.tasks):
            raise _queue_timeout()
        for task in batch.tasks:
            task.running = True
            self._metrics.queuing_latency.observe((now - task.enqueued) * 1e6)
        padded = _padded_size(queue, batch)
        self._metrics.processed_batch_size.observe(padded)
        self._metrics.padding_size.observe(padded - batch.size, str(padded))
        feeds = {}
        for name in batch.tasks[0].feeds:
            parts = [task.feeds[name] for task in batch.tasks]
            if queue.parameters.pad_inputs:
                parts = _pad_alike(parts)
            if padded > batch.size:
                parts.append(np.repeat(parts[0][:1], padded - batch.size, axis=0))
            feeds[name] = np.concatenate(parts) if len(parts) > 1 else parts[0]
        deadlines = [task.deadline for task in batch.tasks if task.deadline is not None]
        deadline = max(deadlines) if len(deadlines) == len(batch.tasks) else None
        return queue.runner(feeds, queue.fetches, deadline)

    def _split(self, queue: _Queue, batch: _Batch, outputs: list[Array]) -> None:
        padded = _padded_size(queue, batch)
        for output in outputs:
            if output.ndim == 0:
                raise failed_precondition("Batched output tensor has 0 dimensions")
            if output.shape[0] != padded:
                raise failed_precondition(
                    "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of "
                    "the input tensors"
                )
        start = 0
        for task in batch.tasks:
            task.results = [output[start : start + task.size] for output in outputs]
            start += task.size


def _padded_size(queue: _Queue, batch: _Batch) -> int:
    return next((size for size in queue.parameters.allowed_sizes if size >= batch.size), batch.size)


def _pad_alike(parts: Sequence[Array]) -> list[Array]:
    """Lengthen tensors to the largest of each dimension but the first, with the first element of each tensor."""
    longest = tuple(max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True))
    return [part if part.shape[1:] == longest else _pad(part, longest) for part in parts]


def _pad(part: Array, row_shape: tuple[int, ...]) -> Array:
    if part.size == 0:
        raise invalid_argument("Got empty tensor in batch of non-empty tensors.")
    padded = np.full((len(part), *row_shape), part.flat[0], part.dtype)
    padded[tuple(slice(size) for size in part.shape)] = part
    return padded


def _queue_timeout() -> ServingError:
    return ServingError(Code.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue")


def _count_rows(feeds: Mapping[str, Array]) -> int:
    """Return the rows of a request. Raises INVALID_ARGUMENT where its tensors do not tell."""
    if not feeds:
        raise invalid_argument("Batching Run() must have at least one input tensor")
    sizes: set[int] = set()
    for array in feeds.values():
        if array.ndim == 0:
            raise invalid_argument("Batching Run() input tensors must have at least one dimension")
        sizes.add(array.shape[0])
    if len(sizes) > 1:
        raise invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def _await(task: _Task) -> list[Array]:
    wait = None if task.deadline is None else max(0.0, task.deadline - time.monotonic())
    if not task.done.wait(wait):
        if not task.running:
            raise _queue_timeout()
        raise ServingError(Code.DEADLINE_EXCEEDED, "the deadline passed before the request's batch was done")
    if task.error is not None:
        raise task.error
    return task.results
