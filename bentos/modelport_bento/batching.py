"""Adaptive batching: requests that arrive together are answered together.

While a batch runs, requests gather; the next batch takes them all, up to its size. A batch that is not full waits for
others only while there is company: a request that comes alone, after one that was alone, runs at once. Nothing is ever
refused for its latency.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray[Any, Any]]
RunBatch = Callable[[list[Arrays]], Awaitable[Sequence[Arrays | Exception]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """When a batch is complete.

    Attributes:
        max_size: Most rows (first axis) in a batch.
        max_delay_ms: Longest time that the first request of a batch waits for others, in ms.
    """

    max_size: int
    max_delay_ms: int


@dataclass(slots=True)
class _Waiting:
    inputs: Arrays
    rows: int
    answer: asyncio.Future[Arrays]


class Batcher:
    """Gathers requests of one event loop and hands them on in batches, one batch at a time."""

    def __init__(
        self, settings: Batching, run: RunBatch, *, observe: Callable[[int], None] = lambda _rows: None
    ) -> None:
        """Make a batcher that starts with its first request.

        Args:
            settings: When a batch is complete.
            run: Answers a batch: one answer or error a request, in order.
            observe: Told the rows of every batch.
        """
        self._settings = settings
        self._run = run
        self._observe = observe
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, inputs: Arrays, rows: int = 1) -> Arrays:
        """Answer one request, in company where there is some.

        Args:
            inputs: The request.
            rows: How much of a batch's size it takes.

        Raises:
            Exception: What `run` gave for this request.
        """
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        answer: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(inputs, rows, answer))
        self._arrived.set()
        return await answer

    async def _work(self) -> None:
        company = False
        while True:
            await self._arrival()
            if company:
                await self._gather()
            batch = self._take()
            await self._answer(batch)
            company = len(batch) > 1 or len(self._waiting) > 0

    async def _arrival(self) -> None:
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()

    async def _gather(self) -> None:
        """Wait until the batch is full or its time is over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.max_delay_ms / 1000
        while sum(entry.rows for entry in self._waiting) < self._settings.max_size:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), deadline - loop.time())
            except TimeoutError:
                return

    def _take(self) -> list[_Waiting]:
        """Take the oldest requests that fit together; those whose caller has gone are dropped."""
        batch: list[_Waiting] = []
        rows = 0
        while self._waiting and (not batch or rows + self._waiting[0].rows <= self._settings.max_size):
            entry = self._waiting.popleft()
            if not entry.answer.done():
                batch.append(entry)
                rows += entry.rows
        return batch

    async def _answer(self, batch: list[_Waiting]) -> None:
        if not batch:
            return
        self._observe(sum(entry.rows for entry in batch))
        try:
            answers: Sequence[Arrays | Exception] = await self._run([entry.inputs for entry in batch])
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait must hear of it
            answers = [error] * len(batch)
        for entry, answer in zip(batch, answers, strict=True):
            if entry.answer.done():
                continue
            if isinstance(answer, Exception):
                entry.answer.set_exception(answer)
            else:
                entry.answer.set_result(answer)
