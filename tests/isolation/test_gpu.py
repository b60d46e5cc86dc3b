"""The way of a job with a GPU through a real launcher: with device files that stand in, and, where there is one, a GPU."""

import contextlib
import dataclasses
import itertools
import json
import threading
from pathlib import Path

import pytest

from trustspace.errors import CannotIsolate, Unavailable
from trustspace.jobs.container import unpack
from trustspace.sandbox import gpu
from trustspace.sandbox.config import MIB, Limits, SandboxConfig
from trustspace.sandbox.launcher import Launcher, Task

pytestmark = pytest.mark.isolation
LIMITS = Limits(wall_seconds=60, memory_bytes=256 * MIB, output_bytes=1 * MIB, processes=32, gpu=True)
WITHOUT = dataclasses.replace(LIMITS, gpu=False)
# No sandbox has it otherwise.
STAND_IN = "/dev/zero"


@pytest.fixture
def stand_in(monkeypatch):
    """Device files that are there everywhere, and a clearing that needs no driver."""
    monkeypatch.setattr(gpu, "devices", lambda number: (STAND_IN,))
    monkeypatch.setattr(gpu, "CLEARING_TASK", Task("attacks:nothing", {}, LIMITS))


class Sent:
    """What a launcher was sent, in order: (program, GPU)."""

    def __init__(self, launcher):
        self.seen = []
        self.changed = threading.Condition()
        forward = launcher._send_task

        def send(number, task, *rest, gpu=None, **options):
            with self.changed:
                self.seen.append((task.program.removeprefix("attacks:"), gpu))
                self.changed.notify_all()
            return forward(number, task, *rest, gpu=gpu, **options)

        launcher._send_task = send

    def wait_for(self, wanted):
        with self.changed:
            self.changed.wait_for(lambda: self.seen == wanted, 30)
            assert self.seen == wanted


def test_one_job_after_the_other_and_cleared_between(stand_in, own_sandbox):
    sandbox = own_sandbox(gpus=(0,), concurrent=2)
    assert sandbox.launcher.details["gpus"] == "0"
    sent = Sent(sandbox.launcher)
    windows = []

    def one():
        windows.append(sandbox.finding("when", LIMITS, seconds=1.0))

    jobs = [threading.Thread(target=one) for _ in range(3)]
    for job in jobs:
        job.start()
    # Another job is not held up by those that wait: they take no place.
    sandbox.run("nothing", WITHOUT).close()
    for job in jobs:
        job.join()
    with contextlib.suppress(ValueError):
        sent.seen.remove(("nothing", None))
    sent.wait_for([("when", 0), ("nothing", 0)] * 3)
    for (_, ended), (began, _) in itertools.pairwise(sorted(windows)):
        assert ended <= began


def test_only_a_job_that_asked_sees_the_device(stand_in, own_sandbox):
    sandbox = own_sandbox(gpus=(0,))
    paths = [STAND_IN, "/proc/self/maps", "/etc/passwd"]
    plain = sandbox.finding("read_files", WITHOUT, paths=paths)
    assert {plain[path] for path in paths} <= {"ENOENT", "EACCES"}
    found = sandbox.finding("read_files", LIMITS, paths=paths)
    assert (found[STAND_IN], found["/proc/self/maps"]) == ("worked", "worked")
    assert found["/etc/passwd"] in ("ENOENT", "EACCES")


def test_a_job_with_a_gpu_sees_no_other_process_and_changes_no_setting(stand_in, own_sandbox):
    """It has a /proc: of its own pid namespace, and read-only."""
    sandbox = own_sandbox(gpus=(0,))
    word = "canary-of-the-host"
    found = sandbox.finding("find_canary", LIMITS, reversed=word[::-1])
    assert found["found"] == []
    assert found["pids"] <= 2
    tried = sandbox.finding("write_everywhere", LIMITS, folders=["/proc/sys/kernel", "/sys/devices", "/dev"])
    assert "worked" not in tried.values()


def test_a_gpu_that_cannot_be_cleared_is_not_given_on(stand_in, own_sandbox, monkeypatch):
    sandbox = own_sandbox(gpus=(0,))
    monkeypatch.setattr(gpu, "CLEARING_TASK", Task("attacks:no_such_program", {}, LIMITS))
    sandbox.run("nothing", LIMITS).close()
    with pytest.raises(Unavailable, match="no GPU"):
        sandbox.run("nothing", LIMITS)
    sandbox.run("nothing", WITHOUT).close()


def test_a_launcher_whose_gpu_cannot_be_cleared_does_not_start(stand_in, programs, report, monkeypatch):
    monkeypatch.setattr(gpu, "CLEARING_TASK", Task("attacks:no_such_program", {}, LIMITS))
    with pytest.raises(CannotIsolate, match="GPU 0 could not be overwritten"):
        Launcher.start(SandboxConfig(gpus=(0,), test_programs=programs), allow_threads=True)


def test_who_waits_for_a_gpu_hears_of_the_end(stand_in, own_sandbox):
    sandbox = own_sandbox(gpus=(0,))
    first = sandbox.launcher.submit(Task("attacks:sleep_for_ever", {}, LIMITS))
    said = []

    def second():
        try:
            sandbox.run("nothing", LIMITS)
        except Unavailable as error:
            said.append(error)

    waiting = threading.Thread(target=second)
    waiting.start()
    sandbox.launcher.close()
    waiting.join(30)
    assert len(said) == 1
    with pytest.raises(Unavailable):
        first.result(30)


def test_no_gpu_is_had_where_none_is_configured(own_sandbox):
    sandbox = own_sandbox()
    assert sandbox.launcher.details["gpus"] == "none"
    with pytest.raises(Unavailable, match="no GPU"):
        sandbox.run("nothing", LIMITS)


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this host has a GPU")
def test_a_gpu_that_is_not_there_is_refused(programs, report):
    with pytest.raises(CannotIsolate, match="GPU 0 is not there"):
        Launcher.start(SandboxConfig(gpus=(0,), test_programs=programs), allow_threads=True)


@pytest.mark.gpu
@pytest.mark.skipif(not Path("/dev/nvidia0").exists(), reason="needs an NVIDIA GPU and a runtime with CUDA")
def test_a_real_gpu_is_cleared_between_two_jobs(own_sandbox):
    """The second job looks for what the first wrote; the runtime is named by TRUSTSPACE_RUNTIME."""
    limits = dataclasses.replace(gpu.CLEARING_LIMITS, output_bytes=1 * MIB)
    sandbox = own_sandbox(gpus=(0,))

    def finding(program):
        with sandbox.launcher.run(Task(f"card:{program}", {}, limits)) as result:
            assert result.status == "finished", result.log.decode()
            return json.loads(unpack(result.read_output(1 * MIB), max_bytes=1 * MIB)[0].data)

    assert finding("leave_a_mark")["found in the same job"] > 0, "the control: it can be found"
    assert finding("look_for_the_mark") == {"found": 0}
