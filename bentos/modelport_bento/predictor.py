"""Answers requests with the model that lies beside it: bytes to tensors, through the model, and back to bytes."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from starlette.responses import JSONResponse, Response

from modelport_bento.batching import Arrays, Batcher, Batching
from modelport_runtime.checking import InvalidInput, ModelFailed, TooLarge
from modelport_runtime.codec import JSON, NPZ, decode, encode
from modelport_runtime.runtime import Runtime

# Coding this many bytes takes about a millisecond: less than it is worth to ask another thread for.
INLINE_BYTES = 64 * 2**10

T = TypeVar("T")

logger = logging.getLogger("bentoml.serve")


class Predictor:
    """One model in one process.

    The model lives in a thread of its own, loaded and used there alone, so that it blocks neither health checks nor
    the reading of other requests. Made by a worker at its start; whoever holds one holds a model that has answered
    its samples.
    """

    def __init__(self, folder: Path, *, batching: Batching | None = None) -> None:
        """Load the model of ``folder`` (where ``modelport.json`` is) and let it answer its samples.

        Args:
            folder: Where ``modelport.json`` is.
            batching: How requests are joined; None where they are not.

        Raises:
            Exception: The model cannot be loaded, or fails on its own samples.
        """
        # OpenMP's threads spin while they wait, and take the processor from those that read and answer requests.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._runtime = self._thread.submit(Runtime.load, folder).result()
        self._thread.submit(self._runtime.warm_up).result()
        self.description = self._runtime.description
        self._batcher: Batcher | None = None
        if batching is not None:
            self._batcher = Batcher(batching, self._run_batch, observe=_batch_rows(batching))

    async def answer(self, body: bytes | None, content_type: str | None, accept: str | None) -> Response:
        """Answer one request.

        Args:
            body: JSON or npz; None where it was longer than is taken.
            content_type: Its media type.
            accept: The media type that is wanted back: npz where that is named, else JSON.

        Returns:
            200 with the outputs; 400, 413 or 500 with ``{"error": sentence}``.
        """
        limit = self.description.max_request_bytes
        if body is None:
            return refusal(413, f"the request is too long: this server takes at most {limit} bytes")
        tensors = self.description.served.inputs if self.description.served_known else None
        try:
            inputs = await _coded(len(body), partial(decode, body, content_type, tensors, limit=limit))
            outputs = await self._predict(inputs)
        except TooLarge as error:
            return refusal(413, str(error))
        except InvalidInput as error:
            return refusal(400, str(error))
        except ModelFailed as error:
            logger.exception("%s %s failed", self.description.name, self.description.version)
            return refusal(500, str(error))
        wanted = NPZ if accept is not None and NPZ in accept.lower() else JSON
        size = sum(array.nbytes for array in outputs.values())
        try:
            return Response(await _coded(size, partial(encode, outputs, wanted)), media_type=wanted)
        except ValueError as error:  # text that npz cannot carry; the sentence has the way out
            return refusal(500, str(error))

    async def _predict(self, inputs: Arrays) -> Arrays:
        if self._batcher is not None:
            return await self._batcher.submit(inputs, self._rows(inputs))
        return await self._in_thread(partial(self._runtime.predict, inputs))

    def _rows(self, inputs: Arrays) -> int:
        """Count a request's rows; 1 where a transform makes rows of something else. Inputs are not checked yet."""
        served = self.description.served
        if not self.description.served_known or not served.batched:
            return 1
        first = inputs.get(served.inputs[0].name)
        return len(first) if first is not None and first.ndim else 1

    async def _run_batch(self, requests: list[Arrays]) -> Sequence[Arrays | Exception]:
        return await self._in_thread(partial(self._runtime.predict_many, requests))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def refusal(status: int, sentence: str) -> Response:
    """Give the answer to a request that is not answered with outputs."""
    return JSONResponse({"error": sentence}, status_code=status)


async def _coded(size: int, call: Callable[[], T]) -> T:
    return call() if size < INLINE_BYTES else await asyncio.to_thread(call)


def _batch_rows(batching: Batching) -> Callable[[int], Any]:
    """Make the metric of batch sizes; imported late, since BentoML's workers first say where metrics go."""
    from prometheus_client import Histogram

    powers = [2**exponent for exponent in range(batching.max_size.bit_length())]
    bounds = sorted({*powers, batching.max_size})
    return Histogram("modelport_batch_rows", "Rows in a batch that the model answered.", buckets=bounds).observe
