"""A task's whole life: what goes in, what comes out, how it ends, and that nothing of it stays."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from trustspace.errors import CannotIsolate, InvalidInput, Unavailable
from trustspace.jobs.container import unpack
from trustspace.sandbox import memory
from trustspace.sandbox.config import LOG_BYTES, MIB, Limits, SandboxConfig
from trustspace.sandbox.identity import sandbox_identity
from trustspace.sandbox.launcher import Launcher, Task

pytestmark = pytest.mark.isolation


def descendants(pid):
    """Every process below that one, dead ones that nobody has waited for included."""
    below = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = status.read_text().rsplit(")", 1)[1].split()
            below.append((int(status.parent.name), int(fields[1])))
    found, layer = set(), {pid}
    while layer:
        layer = {child for child, parent in below if parent in layer} - found
        found |= layer
    return found


def wait_until(condition, seconds=10.0):
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not happen in time"
        time.sleep(0.01)


def alive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def test_bytes_in_and_out(sandbox):
    data = bytes(range(256)) * 1000
    with sandbox.run("echo", data=data) as result:
        (artifact,) = unpack(result.read_output(1 * MIB), max_bytes=1 * MIB)
        assert artifact.data == data
        assert result.reason == ""
        assert result.first_row_ms is not None
        assert 0 < result.first_row_ms <= result.wall_ms
        memory.check_sealed(result.output, "output")


def test_an_empty_input_and_no_output(sandbox):
    with sandbox.run("nothing", data=b"") as result:
        assert unpack(result.read_output(1 * MIB), max_bytes=1 * MIB) == ()


def test_the_runtime_has_what_jobs_need(sandbox):
    limits = Limits(wall_seconds=120, output_bytes=1 * MIB)
    with sandbox.run("libraries", limits) as first, sandbox.run("libraries", limits) as second:
        assert first.status == "finished", first.log.decode()
        assert first.read_output(1 * MIB) == second.read_output(1 * MIB), "equal inputs give equal outputs"


def test_the_libraries_work_within_limits_of_each_process(own_sandbox):
    with own_sandbox(cgroups=False).run(
        "libraries", Limits(wall_seconds=120, output_bytes=1 * MIB)
    ) as result:
        assert result.status == "finished", result.log.decode()


def test_pools_and_event_loops_work(sandbox):
    assert sandbox.finding("helpers") == [1, 2, 3]


def test_an_input_that_could_change_is_refused(sandbox):
    open_memory = memory.create("open", 10)
    with tempfile_descriptor() as on_disk:
        for descriptor in (open_memory, on_disk):
            with pytest.raises(InvalidInput, match="data"):
                sandbox.launcher.run(Task("attacks:nothing", {"data": descriptor}))
    os.close(open_memory)


@contextlib.contextmanager
def tempfile_descriptor():
    import tempfile

    with tempfile.TemporaryFile() as file:
        yield file.fileno()


def test_an_input_cannot_be_changed_from_inside(sandbox):
    assert sandbox.without("change_input", data=b"original")["view"] == "worked"
    inside = sandbox.finding("change_input", data=b"original")
    assert "worked" not in inside.values()
    assert {"write", "truncate", "map", "view"} == set(inside)


def test_too_large_an_output(sandbox):
    limits = Limits(wall_seconds=60, output_bytes=64 << 10)
    assert len(sandbox.bare_process("hand_out", bytes=100_000).communicate()[0]) == 100_000
    with sandbox.run("hand_out", limits, bytes=100_000) as result:
        assert (result.status, result.output) == ("output_too_large", None)
    with sandbox.run("hand_out", limits, bytes=60_000) as result:
        assert result.status == "finished"


def test_the_output_memory_cannot_grow(sandbox):
    inside = sandbox.finding("grow_output")
    assert inside["size"] == 1 * MIB
    # By its seal; the largest also by RLIMIT_FSIZE.
    assert inside["one more"] == inside["write after"] == "EPERM"
    assert inside["sparse"] == "EFBIG"


def test_a_survivor_is_dead_before_the_output_is_read(sandbox):
    """A daemon that goes on writing after the job's end: outside it lives on, inside nothing does."""
    outside = sandbox.bare_process("leave_a_daemon", output=False)
    said, _ = outside.communicate(timeout=30)
    survivors = [pid for pid in processes_with("leave_a_daemon") if pid != outside.pid]
    try:
        assert said == b"\0" * 8192
        assert survivors, "the control leaves a process behind"
    finally:
        for pid in survivors:
            os.kill(pid, signal.SIGKILL)

    with sandbox.run("leave_a_daemon", output=True) as result:
        assert result.status == "finished"
        assert descendants(sandbox.launcher.pid) == set()
        before = result.read_output(1 * MIB)
        time.sleep(0.1)
        assert result.read_output(1 * MIB) == before


def processes_with(word):
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def test_a_timeout_ends_the_whole_tree(sandbox):
    limits = Limits(wall_seconds=2, output_bytes=1 * MIB)
    with sandbox.run("sleep_for_ever", limits) as result:
        assert (result.status, result.reason, result.output) == ("timed_out", "wall-clock", None)
        assert 2000 <= result.wall_ms < 10_000
        assert result.log == b"sleeping\n"
    assert descendants(sandbox.launcher.pid) == set()


def test_processor_time_is_limited(sandbox):
    with sandbox.run("burn", Limits(wall_seconds=60, cpu_seconds=1, output_bytes=1 * MIB)) as result:
        assert (result.status, result.reason) == ("killed", "cpu-time")


def test_cancel(sandbox):
    running = sandbox.launcher.submit(Task("attacks:sleep_for_ever", {}))
    wait_until(lambda: len(descendants(sandbox.launcher.pid)) >= 4)
    running.cancel()
    with running.result(10) as result:
        assert (result.status, result.reason) == ("killed", "cancelled")
    assert descendants(sandbox.launcher.pid) == set()


@pytest.mark.parametrize(
    ("way", "status", "reason"),
    [
        ("exception", "failed", "exit-status"),
        ("exit", "failed", "exit-status"),
        ("quiet exit", "failed", "exit-status"),
        ("segfault", "killed", "signal"),
        ("abort", "killed", "signal"),
        ("kill", "killed", "signal"),
        ("close everything", "failed", "exit-status"),
    ],
)
def test_a_crash_is_a_result_and_the_launcher_goes_on(sandbox, way, status, reason):
    with sandbox.run("end_badly", way=way) as result:
        assert (result.status, result.reason, result.output) == (status, reason, None)
        if way == "exception":
            assert b"the canary in the exception" in result.log
    with sandbox.run("nothing") as result:
        assert result.status == "finished"


def test_an_end_behind_our_back_leaves_no_container(sandbox):
    """os._exit(0) looks like success; what it left is all zeros, which the strict parser refuses."""
    with sandbox.run("end_badly", way="os._exit") as result:
        assert result.status == "finished"
        assert result.read_output(1 * MIB).strip(b"\0") == b""


def test_the_log_is_capped_and_never_blocks(sandbox):
    with sandbox.run("chatter", kib=2048) as result:
        assert result.status == "finished"
        assert len(result.log) == LOG_BYTES
        assert result.log_bytes == 2048 * 1024


def test_tasks_run_at_the_same_time(own_sandbox):
    sandbox = own_sandbox(concurrent=3)
    results = []

    def one():
        results.append(sandbox.finding("when", seconds=1.5))

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert max(start for start, _ in results) < min(end for _, end in results), "all three at one moment"


def test_programs_are_an_allow_list(report, programs):
    with Launcher.start(SandboxConfig(), allow_threads=True) as launcher:
        assert launcher.details["programs"] == "platform"
        for name in ("attacks:nothing", "os:getpid", "no-such-program", "../x"):
            with launcher.run(Task(name, {})) as result:
                assert (result.status, result.output) == ("failed", None), name


def test_the_launcher_is_unprivileged_and_knows_nothing(own_sandbox, monkeypatch):
    monkeypatch.setenv("TRUSTSPACE_CANARY", "hospital-secret-4712")
    sandbox = own_sandbox()
    pid = sandbox.launcher.pid
    if os.geteuid() != 0:
        pytest.skip("only root can look into a process that is not dumpable")
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    assert set(status["Uid"].split()) == {str(sandbox_identity("trustspace-sandbox").uid)}
    assert status["Groups"].strip() == ""
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert (status["NoNewPrivs"], status["Threads"]) == ("1", "1")
    assert Path(f"/proc/{pid}/environ").read_bytes() == b""
    # Not dumpable: its own user may not look into it, which root's ownership of the files shows.
    assert os.stat(f"/proc/{pid}/environ").st_uid == 0
    allowed = ("/dev/null", "socket:", "anon_inode:[eventpoll]", "/memfd:copy", "/memfd:filter")

    def targets():
        return [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]

    # The first sandbox's descriptors are closed just after its result is sent.
    wait_until(lambda: all(target.startswith(allowed) for target in targets()))
    assert sum(target.startswith("socket:") for target in targets()) == 1


def test_root_never_runs_bubblewrap(sandbox):
    running = sandbox.launcher.submit(Task("attacks:sleep_for_ever", {}))
    try:
        wait_until(lambda: len(descendants(sandbox.launcher.pid)) >= 4)
        expected = sandbox_identity("trustspace-sandbox").uid
        assert expected != 0
        for pid in descendants(sandbox.launcher.pid):
            status = Path(f"/proc/{pid}/status").read_text()
            uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
            assert set(uids) == {str(expected)}, status.splitlines()[0]
    finally:
        running.cancel()
        running.result(10).close()


def test_the_service_refuses_to_be_root(report):
    if os.geteuid() != 0:
        pytest.skip("not root")
    code = "from trustspace.sandbox.service import refuse_privileges; refuse_privileges()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "must not be root" in done.stderr
    user = sandbox_identity("trustspace-sandbox")
    assert user.dedicated


def test_the_launcher_s_death_ends_its_sandboxes(own_sandbox):
    sandbox = own_sandbox()
    running = sandbox.launcher.submit(Task("attacks:sleep_for_ever", {}))
    wait_until(lambda: len(descendants(sandbox.launcher.pid)) >= 4)
    family = descendants(sandbox.launcher.pid)
    os.kill(sandbox.launcher.pid, signal.SIGKILL)
    with pytest.raises(Unavailable):
        running.result(10)
    wait_until(lambda: not any(alive(pid) for pid in family))
    assert not sandbox.launcher.alive
    with pytest.raises(Unavailable):
        sandbox.launcher.run(Task("attacks:nothing", {}))


def test_closing_ends_running_tasks(own_sandbox):
    sandbox = own_sandbox()
    running = sandbox.launcher.submit(Task("attacks:sleep_for_ever", {}))
    wait_until(lambda: len(descendants(sandbox.launcher.pid)) >= 4)
    family = descendants(sandbox.launcher.pid) | {sandbox.launcher.pid}
    sandbox.launcher.close()
    assert not any(alive(pid) for pid in family)
    with pytest.raises(Unavailable):
        running.result(1)
    sandbox.launcher.close()


def test_the_enclave_s_death_ends_everything(report, programs):
    """Killed without a chance to clean up: launcher and sandboxes go with it."""
    code = (
        "import sys; from pathlib import Path\n"
        "from trustspace.sandbox.launcher import Launcher, Task\n"
        "from trustspace.sandbox.config import SandboxConfig\n"
        "launcher = Launcher.start(SandboxConfig(test_programs=Path(sys.argv[1])))\n"
        "launcher.submit(Task('attacks:sleep_for_ever', {}))\n"
        "print(launcher.pid, flush=True)\n"
        "import time; time.sleep(60)\n"
    )
    enclave = subprocess.Popen([sys.executable, "-c", code, str(programs)], stdout=subprocess.PIPE)
    try:
        launcher = int(enclave.stdout.readline())
        wait_until(lambda: len(descendants(launcher)) >= 4)
        family = descendants(launcher) | {launcher}
    finally:
        enclave.kill()
        enclave.communicate()
    wait_until(lambda: not any(alive(pid) for pid in family))


def test_a_launcher_is_the_first_thing_in_a_process(report):
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        with pytest.raises(CannotIsolate, match="before any thread"):
            Launcher.start(SandboxConfig())
    finally:
        stop.set()
        thread.join()


def test_a_demand_that_the_host_cannot_meet_is_refused(report):
    config = SandboxConfig(landlock=False, minimum_tier="namespaces+landlock+seccomp")
    with pytest.raises(CannotIsolate, match="demanded"):
        Launcher.start(config, allow_threads=True)


def test_a_host_that_cannot_isolate_is_refused(report):
    """The same filter that a default Docker puts around a container: no namespaces for anybody."""
    code = (
        "import pyseccomp as s\n"
        "rules = s.SyscallFilter(s.ALLOW)\n"
        "for call in ('clone', 'unshare'):\n"
        "    rules.add_rule(s.ERRNO(1), call, s.Arg(0, s.MASKED_EQ, 0x10000000, 0x10000000))\n"
        "rules.add_rule(s.ERRNO(38), 'clone3')\n"
        "if __import__('sys').argv[1] == 'docker': rules.load()\n"
        "from trustspace.sandbox.launcher import Launcher\n"
        "with Launcher.start() as launcher: print(launcher.tier)\n"
    )
    outside, inside = (
        subprocess.run([sys.executable, "-c", code, where], capture_output=True, text=True, check=False)
        for where in ("host", "docker")
    )
    assert outside.stdout.strip() == report.tier, outside.stderr
    assert inside.stdout == ""
    assert "CannotIsolate: This host cannot isolate" in inside.stderr
    assert "namespace" in inside.stderr


def test_a_task_keeps_no_more_processors_busy_than_it_may(own_sandbox):
    sandbox = own_sandbox()
    base = sandbox.launcher._base
    if base is None or not base.cpu:
        pytest.skip("no control group of processors can be had here")
    assert sandbox.launcher.details["processors"] == "2"
    running = sandbox.launcher.submit(Task("attacks:sleep_for_ever", {}))

    def quotas():
        name = "cpu.max" if base.version == 2 else "cpu.cfs_quota_us"
        return [path.read_text().split()[0] for path in Path(base.cpu).glob(f"task-*/{name}")]

    try:
        # 2 for each 100 ms; a group that waits for a task has none.
        wait_until(lambda: "200000" in quotas())
    finally:
        running.cancel()
        running.result(10).close()


def test_nothing_is_left_in_the_control_groups(own_sandbox):
    sandbox = own_sandbox()
    if not sandbox.launcher.details["memory"].startswith("cgroup"):
        pytest.skip("no cgroup can be had here")
    base = sandbox.launcher._base
    sandbox.run("nothing").close()
    for folder in base.folders:
        wait_until(
            lambda folder=folder: not [entry for entry in folder.iterdir() if entry.name.startswith("task-")]
        )
    sandbox.launcher.close()
    assert not any(folder.exists() for folder in base.folders)
