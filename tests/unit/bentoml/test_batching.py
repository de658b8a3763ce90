"""Adaptive batching, with a model that is a function."""

import asyncio

import numpy as np

from modelport_bento.batching import Batcher, Batching


class Model:
    """Doubles what it gets, remembers its batches, refuses negative numbers, and takes its time."""

    def __init__(self, seconds=0.01, fails=False):
        self.batches = []
        self.seconds = seconds
        self.fails = fails

    async def __call__(self, requests):
        self.batches.append([int(r["x"][0]) for r in requests])
        await asyncio.sleep(self.seconds)
        if self.fails:
            raise RuntimeError("out of memory")
        return [ValueError("negative") if (r["x"] < 0).any() else {"y": r["x"] * 2} for r in requests]


def request(value, rows=1):
    return {"x": np.full(rows, value)}


def settings(max_size=8, max_delay_ms=50):
    return Batching(max_size=max_size, max_delay_ms=max_delay_ms)


async def send(batcher, requests):
    return await asyncio.gather(*(batcher.submit(r, len(r["x"])) for r in requests), return_exceptions=True)


def test_requests_that_come_together_are_answered_together():
    async def run():
        model = Model()
        answers = await send(Batcher(settings(), model), [request(i) for i in range(20)])
        assert [int(a["y"][0]) for a in answers] == [2 * i for i in range(20)]
        assert model.batches == [list(range(8)), list(range(8, 16)), list(range(16, 20))]

    asyncio.run(run())


def test_rows_count_not_requests():
    async def run():
        model, seen = Model(), []
        batcher = Batcher(settings(max_size=8), model, observe=seen.append)
        await send(batcher, [request(0, rows=5), request(1, rows=3), request(2, rows=4), request(3, rows=5)])
        assert model.batches == [[0, 1], [2], [3]]
        assert seen == [8, 4, 5]

    asyncio.run(run())


def test_a_request_above_the_size_still_runs_alone():
    async def run():
        model = Model()
        await send(Batcher(settings(max_size=2), model), [request(0, rows=9), request(1)])
        assert model.batches == [[0], [1]]

    asyncio.run(run())


def test_a_request_alone_waits_for_nobody():
    async def run():
        batcher = Batcher(settings(max_delay_ms=60_000), Model(seconds=0))
        for value in range(5):
            await asyncio.wait_for(batcher.submit(request(value)), timeout=60)

    asyncio.run(run())


def test_in_company_a_batch_waits_for_the_rest():
    async def run():
        model = Model(seconds=0)
        batcher = Batcher(settings(max_size=3, max_delay_ms=60_000), model)
        await send(batcher, [request(i) for i in range(3)])
        late = [asyncio.create_task(batcher.submit(request(i))) for i in (3, 4)]
        await asyncio.sleep(0.05)
        late.append(asyncio.create_task(batcher.submit(request(5))))
        await asyncio.wait_for(asyncio.gather(*late), timeout=60)
        assert model.batches == [[0, 1, 2], [3, 4, 5]]

    asyncio.run(run())


def test_nobody_waits_longer_than_the_delay():
    async def run():
        model = Model(seconds=0)
        batcher = Batcher(settings(max_size=3, max_delay_ms=20), model)
        await send(batcher, [request(i) for i in range(3)])
        await asyncio.wait_for(batcher.submit(request(3)), timeout=60)
        assert model.batches == [[0, 1, 2], [3]]

    asyncio.run(run())


def test_a_bad_request_fails_alone():
    async def run():
        answers = await send(Batcher(settings(), Model()), [request(1), request(-1), request(2)])
        assert [type(a) for a in answers] == [dict, ValueError, dict]

    asyncio.run(run())


def test_a_model_that_breaks_tells_all_and_goes_on():
    async def run():
        model = Model(fails=True)
        batcher = Batcher(settings(), model)
        assert [str(a) for a in await send(batcher, [request(1), request(2)])] == ["out of memory"] * 2
        model.fails = False
        assert int((await batcher.submit(request(4)))["y"][0]) == 8

    asyncio.run(run())


def test_requests_whose_callers_have_gone_are_not_run():
    async def run():
        model = Model(seconds=0.1)
        batcher = Batcher(settings(max_size=1), model)
        first = asyncio.create_task(batcher.submit(request(1)))
        gone = asyncio.create_task(batcher.submit(request(2)))
        last = asyncio.create_task(batcher.submit(request(3)))
        await asyncio.sleep(0.02)
        gone.cancel()
        await asyncio.gather(first, last)
        assert model.batches == [[1], [3]]

    asyncio.run(run())
