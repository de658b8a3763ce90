"""Conversations without a network: answers are given by hand."""

from __future__ import annotations

import pytest

from modelport.client.exchange import Pause


class Talk:
    """What came of a conversation: its calls, its pauses, its result."""

    def __init__(self, steps, answers):
        self.calls, self.pauses, self.result = [], [], None
        answers = iter(answers)
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    self.pauses.append(step.seconds)
                    step = next(steps)
                else:
                    self.calls.append(step)
                    answer = next(answers, None)
                    assert answer is not None, f"an unexpected call: {step}"
                    step = steps.send(answer(step) if callable(answer) else answer)
        except StopIteration as end:
            self.result = end.value


@pytest.fixture
def talk():
    """Have a conversation: ``talk(steps, answer, …)``; an answer may be a function of the call."""
    return lambda steps, *answers: Talk(steps, answers)
