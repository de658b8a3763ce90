"""Signals that come where they would leave something behind."""

import os
import shutil
import signal
import threading

import pytest

from modelport.artifact import scratch, staging
from modelport.errors import BuildError
from modelport.signals import ENDING, postponed


def test_signal_takes_effect_at_the_end_of_the_block():
    reached = []

    def work():
        with postponed():
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("the end")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["the end"]


def test_handlers_are_what_they_were():
    before = [signal.getsignal(number) for number in ENDING]
    with postponed():
        assert [signal.getsignal(number) for number in ENDING] != before
    assert [signal.getsignal(number) for number in ENDING] == before


def test_other_threads_get_no_signals_to_postpone():
    reached = []

    def work():
        with postponed():
            reached.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert reached == [signal.getsignal(signal.SIGINT)]


def test_scratch_folder_is_gone_after_an_interruption():
    folders = []

    def work():
        with scratch("modelport-test-") as folder:
            (folder / "file").write_text("x", encoding="utf-8")
            folders.append(folder)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert [folder.exists() for folder in folders] == [False]


def test_fault_of_a_whole_tree_says_why(tmp_path):
    """`shutil.copytree` tells several faults at once, and no strerror."""
    fault = shutil.Error([("from", "to", "[Errno 28] No space left on device")])
    with pytest.raises(BuildError, match="No space left on device; nothing was changed"), staging(tmp_path / "a"):
        raise fault
    assert list(tmp_path.iterdir()) == []
