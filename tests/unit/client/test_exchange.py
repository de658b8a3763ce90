"""Retries as data: what is asked again, after how long, and what is raised in the end."""

from __future__ import annotations

import pytest

from modelport.client.base import InvalidInput, NotReady, Overloaded, ServerError, Timeout
from modelport.client.exchange import Call, Lost, Reply, ask
from modelport.client.judging import judge

CALL = Call(target="/predict")
OK = Reply(status=200, body=b"{}")
BUSY = Reply(status=503, body=b'{"error": "the queue is full"}')


def highest(low, high):
    return high


@pytest.mark.parametrize(
    "first",
    [
        Lost(why="refused", detail="Connection refused"),
        Lost(why="closed", detail="Server disconnected"),
        BUSY,
        Reply(status=429),
        Reply(status="UNAVAILABLE", detail="queue is full"),
        Reply(status="RESOURCE_EXHAUSTED", detail="too many requests"),
    ],
)
def test_what_the_server_did_not_begin_is_sent_again(talk, first):
    conversation = talk(ask(CALL, judge, retries=2, uniform=highest), first, first, OK)
    assert conversation.calls == [CALL] * 3
    assert conversation.pauses == [0.1, 0.2]
    assert conversation.result is OK


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Lost(why="late", detail="5 s"), Timeout),
        (Lost(why="cut", detail="incomplete"), ServerError),
        (Reply(status=400, body=b'{"error": "no"}'), InvalidInput),
        (Reply(status=500), ServerError),
        (Reply(status="INTERNAL"), ServerError),
        (Reply(status="DEADLINE_EXCEEDED"), Timeout),
    ],
)
def test_what_may_have_been_computed_is_not_sent_again(talk, answer, error):
    with pytest.raises(error):
        talk(ask(CALL, judge, retries=5), answer)


@pytest.mark.parametrize(("lost", "error"), [("refused", NotReady), ("closed", ServerError)])
def test_the_last_failure_is_raised(talk, lost, error):
    losses = [Lost(why=lost, detail=f"number {number}") for number in range(3)]
    with pytest.raises(error, match="number 2"):
        talk(ask(CALL, judge, retries=2), *losses)


def test_without_retries_there_is_one_call(talk):
    with pytest.raises(Overloaded, match="the queue is full") as caught:
        talk(ask(CALL, judge), BUSY)
    assert caught.value.status == 503


def test_the_backoff_is_jittered_and_bounded(talk):
    drawn = []

    def draw(low, high):
        drawn.append((low, high))
        return high / 2

    conversation = talk(ask(CALL, judge, retries=8, uniform=draw), *[BUSY] * 8, OK)
    assert drawn == [(0, 0.1), (0, 0.2), (0, 0.4), (0, 0.8), (0, 1.6), (0, 3.2), (0, 5.0), (0, 5.0)]
    assert conversation.pauses[0] == 0.05


@pytest.mark.parametrize(("text", "seconds"), [("3", 3.0), ("0.5", 0.5), ("soon", 0.1), ("-4", 0.1), ("nan", 0.1)])
def test_retry_after_is_honoured_where_it_can_be_read(talk, text, seconds):
    refusal = Reply(status=503, headers={"retry-after": text})
    assert talk(ask(CALL, judge, retries=1, uniform=highest), refusal, OK).pauses == [seconds]


def test_retry_after_as_a_date(talk):
    past = Reply(status=503, headers={"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"})
    assert talk(ask(CALL, judge, retries=1, uniform=highest), past, OK).pauses == [0.1]
    future = Reply(status=503, headers={"retry-after": "Wed, 21 Oct 2115 07:28:00 GMT"})
    assert talk(ask(CALL, judge, retries=1, uniform=highest), future, OK).pauses[0] > 1e9
