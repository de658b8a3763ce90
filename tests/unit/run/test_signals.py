"""Signals that come where they would leave something behind."""

import os
import shutil
import signal
import subprocess
import sys
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


def test_signal_at_the_very_end_does_not_change_the_exit_code(tmp_path):
    late = "import atexit, os, signal\natexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))\n"
    (tmp_path / "sitecustomize.py").write_text(late, encoding="utf-8")
    ended = run_modelport("schema", PYTHONPATH=str(tmp_path))
    assert (ended.returncode, ended.stderr) == (0, "")


# Do something at the moment when a command's module is imported.
AT_IMPORT = """
import os, signal, sys
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "modelport.cli.{command}":
            {act}
sys.meta_path.insert(0, Finder)
class Swallowing:
    def __del__(self):
        os.kill(os.getpid(), signal.{number})
"""


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_signal_that_a_destructor_swallows_is_sent_anew(tmp_path, number, code):
    """What a handler raises within a destructor, or an import's callback, is told on stderr and forgotten."""
    script = AT_IMPORT.format(command="predict", act="Swallowing()", number=number)
    (tmp_path / "sitecustomize.py").write_text(script, encoding="utf-8")
    command = [sys.executable, "-m", "modelport", "predict", "http://127.0.0.1:1", "-i", "-"]
    process = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.wait(timeout=60) == code  # it waits for its input, which does not come
        assert process.stderr.read().endswith("nothing half-written was left\n")
    finally:
        process.kill()
        process.communicate()


def test_hangup_that_is_ignored_stays_ignored(tmp_path):
    """As ``nohup`` asks for."""
    script = AT_IMPORT.format(command="schema", act="os.kill(os.getpid(), signal.SIGHUP)", number="SIGHUP")
    script += "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    (tmp_path / "sitecustomize.py").write_text(script, encoding="utf-8")
    ended = run_modelport("schema", PYTHONPATH=str(tmp_path))
    assert (ended.returncode, ended.stderr) == (0, "")


INTERRUPTED_OUTPUT = """
import sys
class Output:
    def write(self, text):
        try:
            exec("raise KeyboardInterrupt")
        except KeyboardInterrupt:
            pass
    def flush(self):
        pass
sys.stdout = Output()
"""


def test_interrupt_that_came_within_an_exec_does_not_kill_the_process(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED_OUTPUT, encoding="utf-8")
    assert run_modelport("--version", PYTHONPATH=str(tmp_path)).returncode == 0


def run_modelport(*arguments, **environment):
    command = [sys.executable, "-m", "modelport", *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
