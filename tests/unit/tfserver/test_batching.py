"""The batch scheduler, with functions in the place of models."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from modelport_tfserving.server.batching import BatchScheduler
from modelport_tfserving.server.configs import BatchingParameters
from modelport_tfserving.server.metrics import Metrics
from modelport_tfserving.server.servable import Runner
from modelport_tfserving.server.statuses import Code, ServingError, invalid_argument

_MINUTE_US = 60_000_000


class Doubler:
    """Doubles `x` into `y`; remembers the batches it got, and can be held back."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.go = threading.Event()
        self.go.set()
        self.entered = threading.Event()

    def __call__(self, feeds: Mapping[str, Any], fetches: Sequence[str], deadline: float | None) -> list[Any]:
        self.entered.set()
        assert self.go.wait(20)
        self.batches.append(feeds["x"].tolist())
        return [feeds["x"] * 2 for _ in fetches]


@pytest.fixture
def schedulers() -> Iterator[list[BatchScheduler]]:
    started: list[BatchScheduler] = []
    yield started
    for scheduler in started:
        scheduler.stop()


def _wrap(schedulers: list[BatchScheduler], runner: Runner, **parameters: Any) -> Runner:
    execution = parameters.pop("max_execution_size", parameters.get("max_size", 1000))
    schedulers.append(BatchScheduler(BatchingParameters(max_execution_size=execution, **parameters), Metrics()))
    return schedulers[-1].wrap(runner)


def _run(runner: Runner, *values: float, fetches: Sequence[str] = ("y",), dtype: Any = np.float32) -> Any:
    return runner({"x": np.array(values, dtype)}, fetches, None)[0].tolist()


def _wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_full_batch_runs_at_once_and_each_gets_its_rows(schedulers: list[BatchScheduler]) -> None:
    model = Doubler()
    runner = _wrap(schedulers, model, max_size=4, timeout_micros=_MINUTE_US)
    with ThreadPoolExecutor(2) as clients:
        answers = list(clients.map(lambda number: _run(runner, number, number + 0.5), (1, 2)))
    assert answers == [[2, 3], [4, 5]]
    assert [sorted(batch) for batch in model.batches] == [[1, 1.5, 2, 2.5]]


def test_the_timeout_runs_what_is_there_padded_to_an_allowed_size(schedulers: list[BatchScheduler]) -> None:
    model = Doubler()
    runner = _wrap(schedulers, model, max_size=4, timeout_micros=1000, allowed_sizes=(3, 4))
    assert _run(runner, 7) == [14]
    assert model.batches == [[7, 7, 7]]


def test_different_models_types_and_outputs_do_not_mix(schedulers: list[BatchScheduler]) -> None:
    model = Doubler()
    runner = _wrap(schedulers, model, max_size=8, timeout_micros=20_000)
    with ThreadPoolExecutor(3) as clients:
        single = clients.submit(_run, runner, 1)
        double = clients.submit(_run, runner, 2, dtype=np.float64)
        other = clients.submit(_run, runner, 3, fetches=("y", "z"))
        assert [single.result(20), double.result(20), other.result(20)] == [[2], [4], [6]]
    assert sorted(model.batches) == [[1], [2], [3]]


def test_large_requests_are_split_where_that_is_asked_for(schedulers: list[BatchScheduler]) -> None:
    model = Doubler()
    runner = _wrap(schedulers, model, max_size=10, max_execution_size=4, timeout_micros=1000)
    assert _run(runner, *range(10)) == [number * 2 for number in range(10)]
    assert sorted(map(len, model.batches)) == [2, 4, 4]
    with pytest.raises(ServingError, match="Task size 11 is larger than maximum input batch size 10"):
        _run(runner, *range(11))


def test_a_full_queue_is_unavailable(schedulers: list[BatchScheduler]) -> None:
    model = Doubler()
    model.go.clear()
    runner = _wrap(schedulers, model, max_size=1, max_enqueued=1, threads=1)
    with ThreadPoolExecutor(2) as clients:
        working = clients.submit(_run, runner, 1)
        assert model.entered.wait(20)
        waiting = clients.submit(_run, runner, 2)
        _wait_until(lambda: bool(schedulers[0]._queues))
        with pytest.raises(ServingError) as caught:
            _run(runner, 3)
        model.go.set()
        assert (working.result(20), waiting.result(20)) == ([2], [4])
    assert caught.value.code is Code.UNAVAILABLE


def test_a_failed_run_is_everybodys_error_and_the_next_one_is_well(schedulers: list[BatchScheduler]) -> None:
    def run(feeds: Mapping[str, Any], _fetches: Sequence[str], _deadline: float | None) -> list[Any]:
        if -1 in feeds["x"]:
            raise invalid_argument("no negative numbers")
        return [feeds["x"]]

    runner = _wrap(schedulers, run, max_size=2, timeout_micros=1000)
    with pytest.raises(ServingError, match="no negative numbers"):
        _run(runner, -1)
    assert _run(runner, 1) == [1]


def test_outputs_that_are_no_rows_are_refused(schedulers: list[BatchScheduler]) -> None:
    def run(feeds: Mapping[str, Any], fetches: Sequence[str], _deadline: float | None) -> list[Any]:
        return [feeds["x"].sum() if fetches == ("sum",) else np.zeros(9)]

    # Also where a request has its batch for itself, or the answer would hang on who else is asking.
    for sizes in ((), (2,)):
        runner = _wrap(schedulers, run, max_size=2, timeout_micros=1000, allowed_sizes=sizes)
        with pytest.raises(ServingError, match="Batched output tensor has 0 dimensions"):
            _run(runner, 1, fetches=("sum",))
        with pytest.raises(ServingError, match="0th dimension does not equal"):
            _run(runner, 1)


def test_only_the_runs_of_a_signature_are_batched(schedulers: list[BatchScheduler]) -> None:
    model = Doubler()
    _wrap(schedulers, model, max_size=2, timeout_micros=1000, allowed_sizes=(2,))
    runner = schedulers[0].wrap(model, batched={(frozenset({"x"}), frozenset({"y"}))})
    assert _run(runner, 1) == [2]
    assert _run(runner, 1, 2, 3, fetches=("z",)) == [2, 4, 6]
    assert model.batches == [[1, 1], [1, 2, 3]]
    with pytest.raises(ServingError, match="Task size 3 is larger"):
        _run(runner, 1, 2, 3)
    assert schedulers[0].wrap(lambda *_: [], batched=())({}, ["y"], None) == []
    with pytest.raises(ServingError, match=r"Batching Run\(\) must have at least one input tensor"):
        schedulers[0].wrap(model)({}, ["y"], None)


def test_rows_of_different_shapes_share_a_batch_where_they_may_be_padded(schedulers: list[BatchScheduler]) -> None:
    model = Doubler()
    parameters = {"max_size": 2, "timeout_micros": _MINUTE_US, "pad_inputs": True}
    for dtype in (np.float32, object):
        runner = _wrap(schedulers, model, **parameters)

        def ask(row: list[int], runner: Runner = runner, dtype: Any = dtype) -> Any:
            return runner({"x": np.array([row], dtype)}, ["y"], None)[0].tolist()

        with ThreadPoolExecutor(2) as clients:
            answers = list(clients.map(ask, ([5, 7], [1, 2, 3])))
        assert answers == [[[10, 14, 10]], [[2, 4, 6]]]
        assert sorted(model.batches.pop()) == [[1, 2, 3], [5, 7, 5]]
        with ThreadPoolExecutor(2) as clients, pytest.raises(ServingError, match="Got empty tensor in batch of"):
            list(clients.map(ask, ([], [1])))


def test_a_deadline_ends_the_waiting(schedulers: list[BatchScheduler]) -> None:
    runner = _wrap(schedulers, Doubler(), max_size=4, timeout_micros=_MINUTE_US)
    with pytest.raises(ServingError) as caught:
        runner({"x": np.float32([1])}, ["y"], 0.0)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert "Run() timeout exceeded while waiting in batching queue" in str(caught.value)


def test_nothing_to_batch_runs_directly(schedulers: list[BatchScheduler]) -> None:
    model = Doubler()
    runner = _wrap(schedulers, model, max_size=4, timeout_micros=_MINUTE_US)
    assert _run(runner) == []
    assert model.batches == [[]]
