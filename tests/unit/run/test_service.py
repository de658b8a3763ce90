"""Services on this machine: they start, they answer, and nothing of them is left."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from modelport.errors import MissingTool, ServerFailed
from modelport.plan import Generated, PlannedFile, Port, Readiness, ServicePlan
from modelport.run.family import Family
from modelport.run.ports import choose_ports
from modelport.run.service import running
from modelport.run.tool import find_program, run_tool

HOST = "127.0.0.1"

# A server with a child that ignores SIGTERM, as TorchServe's workers have been seen to.
FAMILY = """
import signal, socket, subprocess, sys, time
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
subprocess.Popen([sys.executable, "-c", deaf])
subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True)  # as BentoML's workers
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(60)
"""


def plan_of(code, *arguments, port=None, **more):
    port = port or choose_ports({"rest": 0}, HOST)["rest"]
    return ServicePlan(
        backend="toy",
        server="toy server",
        command=(sys.executable, "-c", code, *(a.replace("PORT", str(port)) for a in arguments)),
        ports=(Port(name="rest", number=port),),
        readiness=Readiness(port="rest", path="/"),
        endpoints={"rest": f"http://{HOST}:{port}"},
        **{"grace_s": 1.0, "start_timeout_s": 60.0, **more},
    )


def wait_until(condition):
    """Wait for what another process does."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def listens(port):
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def test_a_service_ends_with_every_process_it_started():
    plan = plan_of(FAMILY, "PORT")
    port = plan.ports[0].number
    with running(plan, HOST) as service:
        service.wait_ready(lambda: listens(port))
        assert len(service.family.processes()) == 3
        family = service.family
    assert family.processes() == []
    assert not listens(port)


def test_the_private_folder_holds_the_files_and_is_gone_afterwards(tmp_path):
    seen = tmp_path / "seen"
    code = "import sys, time; open(sys.argv[2], 'w').write(open(sys.argv[1]).read()); time.sleep(60)"
    file = PlannedFile(path="deep/config", content=Generated(data=b"in {state}", origin="test"))
    plan = plan_of(code, "{state}/deep/config", str(seen), files=(file,))
    with running(plan, HOST) as service:
        service.wait_ready(lambda: seen.exists() and seen.read_text() != "")
    state = Path(seen.read_text().removeprefix("in "))
    assert state.name.startswith("modelport-toy-")
    assert not state.exists()


def test_variables_are_set_and_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("TO_REMOVE", "1")
    code = "import os, time; print(os.environ.get('TO_REMOVE'), os.environ['TO_SET'], flush=True); time.sleep(60)"
    lines = []
    with running(plan_of(code, environment={"TO_REMOVE": None, "TO_SET": "x"}), HOST, log=lines.append) as service:
        service.wait_ready(lambda: bool(lines))
    assert lines == ["None x"]


def test_a_server_whose_lines_nobody_reads_goes_on(tmp_path):
    """As with ``modelport serve … | head``: the pipe that it writes to must not fill up."""
    done = tmp_path / "done"
    code = (
        "import pathlib, sys, time; print('x' * 99 + '\\n', flush=True); print(('x' * 99 + '\\n') * 5000, flush=True)"
    )
    told = []

    def tell(line):
        told.append(line)
        raise BrokenPipeError

    plan = plan_of(f"{code}; pathlib.Path(sys.argv[1]).touch(); time.sleep(60)", str(done))
    with running(plan, HOST, log=tell) as service:
        service.wait_ready(done.exists)
    assert len(told) == 1
    assert len(service.printed()) > 40_000


def test_a_server_that_dies_while_starting_shows_its_last_lines():
    plan = plan_of("print('the reason'); raise SystemExit(3)")
    with pytest.raises(ServerFailed, match=r"(?s)exit code 3.*the reason"), running(plan, HOST) as service:
        service.wait_ready(lambda: False)


def test_a_server_that_never_gets_ready_is_ended():
    plan = plan_of("import time; print('still loading', flush=True); time.sleep(60)", start_timeout_s=0.5)
    with running(plan, HOST) as service:
        family = service.family
        wait_until(service.printed)
        with pytest.raises(ServerFailed, match=r"(?s)not ready after 0 s.*still loading"):
            service.wait_ready(lambda: False)
    assert family.processes() == []


def test_a_server_that_says_that_it_will_never_be_ready_is_not_waited_for():
    plan = plan_of("import time; print('no such model', flush=True); time.sleep(60)", fatal=("such model",))
    with (
        pytest.raises(ServerFailed, match=r"cannot serve the model:\n    no such model$"),
        running(plan, HOST) as service,
    ):
        service.wait_ready(lambda: False)


def test_a_server_that_ends_while_it_is_used_is_noticed():
    plan = plan_of("import time; time.sleep(0.2); raise SystemExit(7)")
    with pytest.raises(ServerFailed, match="exit code 7"), running(plan, HOST) as service:
        service.wait(threading.Event())


# A server that finds an address of its own in use until it is started for the n-th time.
UNLUCKY = """
import pathlib, sys, time
starts = pathlib.Path(sys.argv[1])
with starts.open("a") as file:
    file.write("x")
if starts.stat().st_size < int(sys.argv[2]):
    raise OSError("[Errno 98] Address already in use")
print("up", flush=True)
time.sleep(60)
"""


def test_a_server_that_finds_an_address_in_use_is_started_once_more(tmp_path):
    lines = []
    with running(plan_of(UNLUCKY, str(tmp_path / "starts"), "2"), HOST, log=lines.append) as service:
        service.wait_ready(lambda: "up" in lines)
        assert len(service.family.processes()) == 1
    assert service.family.processes() == []
    assert lines[-2:] == ["modelport: toy server found an address in use; it is started once more", "up"]


def test_a_server_that_finds_an_address_in_use_again_has_failed(tmp_path):
    starts = tmp_path / "starts"
    with (
        pytest.raises(ServerFailed, match=r"(?s)exit code 1.*once more.*Address already in use") as caught,
        running(plan_of(UNLUCKY, str(starts), "9"), HOST) as service,
    ):
        service.wait_ready(lambda: False)
    assert str(caught.value).count("Errno 98") == 1
    assert starts.read_text() == "xx"


def test_a_port_of_the_plan_that_was_taken_meanwhile_is_named(tmp_path):
    plan = plan_of(UNLUCKY, str(tmp_path / "starts"), "9")
    number = plan.ports[0].number
    with (
        pytest.raises(ServerFailed, match=f"port {number} .*--port"),
        running(plan, HOST) as service,
        socket.create_server((HOST, number)),
    ):
        service.wait_ready(lambda: False)


def test_a_taken_port_is_named_before_anything_starts():
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerFailed, match=f"port {port} .*--port"), running(plan_of("", port=port), HOST):
            pass


def test_a_missing_program_is_named():
    plan = plan_of("")
    absent = ServicePlan(**{**{f: getattr(plan, f) for f in plan.__slots__}, "command": ("/no/such/server",)})
    with pytest.raises(MissingTool, match="/no/such/server"), running(absent, HOST):
        pass


def test_free_ports_differ():
    ports = choose_ports(dict.fromkeys("abcdef", 0), HOST)
    assert len(set(ports.values())) == 6


def test_a_second_interrupt_does_not_break_off_the_ending(tmp_path):
    code = textwrap.dedent(
        f"""
        import sys, threading
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_service import FAMILY, HOST, listens, plan_of
        from modelport.run.service import running
        plan = plan_of(FAMILY, "PORT", grace_s=2.0)
        with running(plan, HOST) as service:
            service.wait_ready(lambda: listens(plan.ports[0].number))
            print(service.family.session, service.family.mark, flush=True)
            service.wait(threading.Event())
        """
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    session, mark = process.stdout.readline().decode().split()
    family = Family(session=int(session), mark=mark)
    process.send_signal(signal.SIGINT)
    wait_until(lambda: len(family.processes()) < 3)  # the ending has begun; two are deaf to it for two seconds
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert family.processes() == []


def test_a_tool_gives_its_output_and_its_failure(tmp_path):
    command = [sys.executable, "-c", "print('done')"]
    assert run_tool(command, cwd=tmp_path, timeout_s=60, what="a test") == "done\n"
    with pytest.raises(Exception, match=r"(?s)a test: failed with exit code 2.*the reason"):
        run_tool(
            [sys.executable, "-c", "print('the reason'); raise SystemExit(2)"],
            cwd=tmp_path,
            timeout_s=60,
            what="a test",
        )
    with pytest.raises(Exception, match="took longer"):
        run_tool([sys.executable, "-c", "import time; time.sleep(60)"], cwd=tmp_path, timeout_s=0.3, what="a test")
    with pytest.raises(MissingTool):
        run_tool(["/no/such/tool"], cwd=tmp_path, timeout_s=1, what="a test")


def test_a_program_beside_this_python_is_found_first():
    assert find_program("python", install="nothing") == str(Path(sys.executable).parent / "python")
    with pytest.raises(MissingTool, match="pip install x"):
        find_program("no-such-program", install="pip install x")
    assert os.access(find_program("sh", install=""), os.X_OK)
