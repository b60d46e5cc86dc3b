"""Sandboxes that wait: each gets one task, has nothing of any other, and is as tight as one made for its task."""

import contextlib
import os
import re
import signal
import time
from pathlib import Path

import pytest
from test_lifecycle import alive, descendants, wait_until
from test_platform_programs import LIMITS as PROGRAM_LIMITS
from test_platform_programs import job, patients
from test_sessions import channel

from trustspace.crypto.canonical import canonical_json
from trustspace.errors import CannotIsolate
from trustspace.jobs.container import unpack
from trustspace.sandbox import memory, pool
from trustspace.sandbox.config import MIB, Limits, SandboxConfig
from trustspace.sandbox.launcher import Launcher, Task

pytestmark = pytest.mark.isolation
ENOUGH = Limits(wall_seconds=60, cpu_seconds=60, memory_bytes=512 * MIB, output_bytes=4 * MIB, processes=32)
# Importing torch takes a second; a loaded host may take much longer. Nothing waits for as long.
PATIENCE = 120.0


def until_warm(attempt):
    """The result of the first attempt that found a sandbox waiting."""
    give_up, pause = time.monotonic() + PATIENCE, 0.1
    while True:
        result = attempt()
        if result.warm:
            return result
        result.close()
        assert time.monotonic() < give_up, "no sandbox got warm"
        # Training takes one that is still importing, too: it must be left alone for long enough.
        time.sleep(pause)
        pause *= 1.5


def run(launcher, program, limits=ENOUGH, **inputs):
    with contextlib.ExitStack() as stack:
        given = {name: memory.sealed(name, content) for name, content in inputs.items()}
        for descriptor in given.values():
            stack.callback(os.close, descriptor)
        return launcher.run(Task(program, given, limits))


def warm_run(launcher, program, limits=ENOUGH, **inputs):
    return until_warm(lambda: run(launcher, program, limits, **inputs))


def artifacts(result):
    with result:
        assert result.status == "finished", result.log.decode()
        return {one.name: one.data for one in unpack(result.read_output(4 * MIB), max_bytes=4 * MIB)}


def finding(result):
    import json

    return json.loads(artifacts(result)["finding.json"])


@pytest.fixture(scope="module")
def warm(report, programs):
    """A launcher with two that wait, and the door for tests open."""
    config = SandboxConfig(test_programs=programs, warm=2)
    with Launcher.start(config, allow_threads=True) as launcher:
        yield launcher


# -- what it is for


def test_a_task_gets_one_that_waits(warm):
    assert warm.details["warm"] == "2"
    with warm_run(warm, "attacks:echo", data=b"rows") as result:
        assert list(artifacts(result).values()) == [b"rows"]
        assert (result.status, result.reason) == ("finished", "")


def test_without_a_pool_none_waits(sandbox):
    """Otherwise the tests here would say nothing."""
    assert sandbox.launcher.details["warm"] == "0"
    assert descendants(sandbox.launcher.pid) == set()
    with sandbox.run("nothing", ENOUGH) as result:
        assert not result.warm


def test_torch_is_there_before_the_task(warm, sandbox):
    def imported(result):
        return "torch" in finding(result)

    assert imported(warm_run(warm, "traces:modules"))
    assert not imported(run(sandbox.launcher, "traces:modules"))


def test_the_next_one_gets_warm_while_a_long_task_runs(warm):
    long = warm.submit(Task("attacks:sleep_for_ever", {}, ENOUGH))
    try:
        warm_run(warm, "attacks:nothing").close()
        # One of these was made while the long task ran: there were two.
        warm_run(warm, "attacks:nothing").close()
        warm_run(warm, "attacks:nothing").close()
    finally:
        long.cancel()
        long.result(PATIENCE).close()


def test_a_session_gets_one_as_well(warm):
    def session():
        with channel() as made, warm.open(Task("sessions:echo", {}, ENOUGH), made) as conversation:
            assert conversation.ask({}, PATIENCE) == {"count": 1}
            return conversation.close()

    with until_warm(session) as result:
        assert result.status == "finished"


def test_the_same_bytes_from_a_warm_and_from_a_new_one(warm, sandbox):
    """Training and judging, to the last bit."""
    parameters = job(
        kind="train", train={"model": "mlp", "hidden": [8], "target": "outcome", "epochs": 5, "positive": "M"}
    )
    given = {"parameters": canonical_json(parameters.to_json()), "data": patients(96)}
    new = artifacts(run(sandbox.launcher, "train", PROGRAM_LIMITS, **given))
    assert artifacts(warm_run(warm, "train", PROGRAM_LIMITS, **given)) == new
    other = {**given, "data": patients(95)}
    assert artifacts(run(sandbox.launcher, "train", PROGRAM_LIMITS, **other)) != new, "the comparison sees"
    judged = {**given, "model": new["model.safetensors"]}
    assert artifacts(warm_run(warm, "evaluate", PROGRAM_LIMITS, **judged)) == artifacts(
        run(sandbox.launcher, "evaluate", PROGRAM_LIMITS, **judged)
    )


def test_no_two_warm_ones_share_their_chance(warm):
    """They are processes of their own, not copies of one."""
    first, second = finding(warm_run(warm, "traces:seeds")), finding(warm_run(warm, "traces:seeds"))
    assert not set(first) & set(second)


# -- one task each, and nothing of another


def test_nothing_of_a_task_is_in_the_next_one(warm, sandbox):
    together = finding(run(sandbox.launcher, "traces:plant_and_look"))
    assert set(together.values()) == {True}, "in one process every trace is found"
    for _ in range(3):
        # As many as wait and one more, so that who looks comes after who planted.
        assert finding(warm_run(warm, "traces:plant")) == sorted(together)
    for _ in range(3):
        assert finding(warm_run(warm, "traces:look")) == dict.fromkeys(together, False)


@pytest.mark.slow
def test_nothing_of_a_task_is_in_the_next_one_without_namespaces(own_sandbox):
    """The same user, the same process numbers and the same root as the next one's, and still nothing."""
    launcher = own_sandbox(warm=2, backend="landlock").launcher
    together = finding(run(launcher, "traces:plant_and_look"))
    assert {"module", "patched platform", "torch", "builtin", "environment"} <= {
        trace for trace, found in together.items() if found
    }
    for _ in range(3):
        warm_run(launcher, "traces:plant").close()
    for _ in range(3):
        assert finding(warm_run(launcher, "traces:look")) == dict.fromkeys(together, False)


def test_a_waiting_one_holds_no_descriptor_of_any_task(warm):
    """Its log, its devices and its socket; a running one has its input and its output besides."""
    if os.geteuid() != 0:
        pytest.skip("only root can look at another user's descriptors")

    def memory_files(pid):
        with contextlib.suppress(OSError):
            links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
            return {re.sub(r" .*", "", link) for link in links if "/memfd:" in link}
        return set()

    def maps(pid):
        with contextlib.suppress(OSError):
            return set(re.findall(r"/memfd:\w+", Path(f"/proc/{pid}/maps").read_text()))
        return set()

    warm_run(warm, "attacks:nothing").close()
    data = memory.sealed("ward", b"rows")
    running = warm.submit(Task("attacks:sleep_for_ever", {"ward": data}, ENOUGH))
    os.close(data)
    try:
        wait_until(lambda: any("/memfd:ward" in maps(pid) for pid in descendants(warm.pid)))
        workers = waiting_workers(warm)
        own = {pid for pid in workers if "/memfd:ward" in maps(pid)}
        assert all("/memfd:output" in memory_files(pid) for pid in own), "the running one has them"
        others = set(workers) - own
        assert others
        for pid in others:
            assert memory_files(pid) == maps(pid) == set()
    finally:
        running.cancel()
        running.result(PATIENCE).close()


def waiting_workers(launcher, least=2):
    """The processes that have torch in them, once they are of so many sandboxes."""

    def with_torch():
        found = []
        for pid in descendants(launcher.pid):
            with contextlib.suppress(OSError):
                if "libtorch" in Path(f"/proc/{pid}/maps").read_text():
                    found.append(pid)
        return found

    def sandboxes():
        # A task may have several processes.
        found = set()
        for pid in with_torch():
            with contextlib.suppress(OSError):
                found.add(os.readlink(f"/proc/{pid}/ns/pid"))
        return found

    wait_until(lambda: len(sandboxes()) >= least, PATIENCE)
    return with_torch()


def in_memory(pid, needle):
    """Whether those bytes are anywhere in what the process can read."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/mem", "rb", buffering=0) as content:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            area, rights, *_, inode = line.split()[:5]
            start, end = (int(part, 16) for part in area.split("-"))
            # What is mapped from the runtime's files is no task's.
            if not rights.startswith("r") or (inode != "0" and "memfd" not in line):
                continue
            with contextlib.suppress(OSError, OverflowError):
                content.seek(start)
                if needle in content.read(end - start):
                    return True
    return False


def test_the_memory_of_a_waiting_one_has_nothing_of_a_task(warm):
    if os.geteuid() != 0:
        pytest.skip("only root can look into another user's memory")
    canary = os.urandom(16).hex().encode()
    data = memory.sealed("ward", canary)
    running = warm.submit(Task("attacks:sleep_for_ever", {"ward": data}, ENOUGH))
    os.close(data)
    try:
        wait_until(lambda: any(in_memory(pid, canary) for pid in descendants(warm.pid)))
        # Those who waited before, and those who are made after the task began.
        for _ in range(2):
            family = waiting_workers(warm)
            sandboxes = {os.readlink(f"/proc/{pid}/ns/pid") for pid in family}
            holding = {os.readlink(f"/proc/{pid}/ns/pid") for pid in family if in_memory(pid, canary)}
            assert len(holding) <= 1 < len(sandboxes)
            warm_run(warm, "attacks:nothing").close()
    finally:
        running.cancel()
        running.result(PATIENCE).close()
    assert not any(in_memory(pid, canary) for pid in descendants(warm.pid) | {warm.pid})


def test_a_warm_one_has_the_environment_and_the_descriptors_of_a_new_one(warm, sandbox):
    def told(result):
        found = finding(result)
        # What the worker was started with names what it imports.
        found.pop("argv", None)
        return found

    for program in ("attacks:descriptors", "attacks:where"):
        new = told(run(sandbox.launcher, program, data=b"x", parameters=b"{}"))
        assert told(warm_run(warm, program, data=b"x", parameters=b"{}")) == new


# -- limits


@pytest.mark.parametrize("cgroups", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_limits_of_a_task_hold_in_a_warm_one(own_sandbox, cgroups):
    launcher = own_sandbox(warm=2, cgroups=cgroups).launcher
    burning = Limits(wall_seconds=60, cpu_seconds=1, memory_bytes=512 * MIB, output_bytes=1 * MIB)
    with warm_run(launcher, "attacks:burn", burning) as result:
        assert (result.status, result.reason) == ("killed", "cpu-time")
    few = Limits(wall_seconds=60, memory_bytes=512 * MIB, output_bytes=1 * MIB, processes=16)
    assert finding(warm_run(launcher, "attacks:fork_many", few, parameters=b'{"wanted": 100}')) <= 16
    short = Limits(wall_seconds=1, memory_bytes=512 * MIB, output_bytes=1 * MIB)
    with warm_run(launcher, "attacks:sleep_for_ever", short) as result:
        assert (result.status, result.reason) == ("timed_out", "wall-clock")
    bomb = b'{"kind": "private", "mib": 600}'
    with warm_run(launcher, "attacks:take_memory", few, parameters=bomb) as result:
        if launcher.details["memory"].startswith("cgroup"):
            assert (result.status, result.reason) == ("killed", "memory")
        else:
            assert finding(result) < 512
    large = Limits(wall_seconds=60, memory_bytes=512 * MIB, output_bytes=64 << 10)
    with warm_run(launcher, "attacks:hand_out", large, parameters=b'{"bytes": 100000}') as result:
        assert (result.status, result.output) == ("output_too_large", None)


def test_waiting_takes_nothing_of_a_task_s_time(warm):
    """Importing took about a second of processor time, and waiting more than one of the clock."""
    waiting_workers(warm)
    time.sleep(1.1)
    limits = Limits(wall_seconds=2, cpu_seconds=1, memory_bytes=512 * MIB, output_bytes=1 * MIB)
    with warm_run(warm, "attacks:nothing", limits) as result:
        assert result.status == "finished"


def test_a_task_with_less_memory_than_is_imported_gets_a_new_one(warm):
    waiting_workers(warm)
    little = Limits(wall_seconds=60, memory_bytes=64 * MIB, output_bytes=1 * MIB)
    with run(warm, "attacks:nothing", little) as result:
        assert (result.status, result.warm) == ("finished", False)


@pytest.mark.slow
def test_one_that_has_imported_more_than_the_task_may_use_is_not_taken(own_sandbox, monkeypatch):
    """The bound above is a rule of thumb; where the kernel counts, it has the last word."""
    monkeypatch.setattr(pool, "PRELOAD", (*pool.PRELOAD, "preload_takes"))
    launcher = own_sandbox(warm=1).launcher
    if not launcher.details["memory"].startswith("cgroup"):
        pytest.skip("no cgroup can be had here")
    plenty = Limits(wall_seconds=60, memory_bytes=2048 * MIB, output_bytes=1 * MIB)
    warm_run(launcher, "attacks:nothing", plenty).close()
    waiting_workers(launcher, least=1)
    # A warm one, or one that is about to be: either way this task gets one made for it.
    with run(launcher, "attacks:nothing") as result:
        assert (result.status, result.warm) == ("finished", False)


# -- the walls of a warm one


def test_the_self_check_looks_at_a_warm_one(own_sandbox, monkeypatch):
    """A wall that gives way to what was imported: a new sandbox has it, so only a look at a warm one can tell."""
    monkeypatch.setattr(pool, "PRELOAD", ("preload_loosens",))
    own_sandbox(warm=0)
    with pytest.raises(CannotIsolate, match="weaker than ordered: network"):
        own_sandbox(warm=1)


@pytest.mark.parametrize(
    ("module", "said"), [("preload_dies", "the canary in the import"), ("preload_hangs", "did-not-start")]
)
def test_one_that_never_gets_ready_is_found_at_the_start(own_sandbox, monkeypatch, module, said):
    monkeypatch.setattr(pool, "PRELOAD", (module,))
    monkeypatch.setattr(pool, "READY_SECONDS", 3.0)
    own_sandbox(warm=0)
    with pytest.raises(CannotIsolate, match=said):
        own_sandbox(warm=1)


def test_tasks_go_on_when_those_that_wait_are_killed(own_sandbox):
    sandbox = own_sandbox(warm=1)
    launcher = sandbox.launcher
    for _ in range(3):
        family = descendants(launcher.pid)
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # Whether the launcher has noticed or not: a task gets one that lives.
        assert list(artifacts(run(launcher, "attacks:echo", data=b"rows")).values()) == [b"rows"]
        wait_until(lambda family=family: not any(alive(pid) for pid in family))
    warm_run(launcher, "attacks:nothing").close()


# -- ends


def test_closing_ends_those_that_wait(own_sandbox):
    launcher = own_sandbox(warm=2).launcher
    waiting_workers(launcher)
    family = descendants(launcher.pid) | {launcher.pid}
    launcher.close()
    assert not any(alive(pid) for pid in family)
    if launcher.details["memory"].startswith("cgroup"):
        assert not any(folder.exists() for folder in launcher._base.folders)


def test_the_launcher_s_death_ends_those_that_wait(own_sandbox):
    launcher = own_sandbox(warm=2).launcher
    family = set(waiting_workers(launcher)) | descendants(launcher.pid)
    os.kill(launcher.pid, signal.SIGKILL)
    wait_until(lambda: not any(alive(pid) for pid in family))
