"""The launcher and the limits of a job, as a review found them: one malformed message, one odd mapping."""

import array
import errno
import math
import os
import platform
import resource
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest

from trustspace.errors import CannotIsolate, Unavailable
from trustspace.sandbox import bubblewrap, limits, memory, protocol, seccomp, spawn
from trustspace.sandbox import launcher as launching
from trustspace.sandbox.config import Limits, SandboxConfig
from trustspace.sandbox.launcher import Launcher, Task
from trustspace.sandbox.runtime import Runtime
from trustspace.sandbox.service import Service

# -- memory that limits of each process do not see


@pytest.mark.parametrize("way", ["grows-down", "stack", "read-only"])
def test_memory_that_the_data_limit_does_not_count_is_bounded(way):
    """RLIMIT_DATA leaves out what is like a stack and what is no longer writable (mm/mmap.c, is_data_mapping)."""
    assert _taken(way, "data") == "all of it", "the attack works without the second limit"
    assert _taken(way, "all") == "refused"


def _taken(way, which):
    """What a process with a worker's limits gets that takes a gibibyte more than those of memory."""
    done = subprocess.run(
        [sys.executable, "-c", TAKING, way, which], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


# Nothing is touched: what is mapped could be filled. "read-only" gives each piece back its place in the limit.
TAKING = f"""
import ctypes, resource, sys
from trustspace.sandbox import limits
from trustspace.sandbox.config import Limits
MIB = 1 << 20
libc = ctypes.CDLL(None)
for name in ("mmap", "mremap"):
    getattr(libc, name).restype = ctypes.c_size_t
size_t = ctypes.c_size_t
failed = size_t(-1).value
wanted = limits.in_worker(Limits(memory_bytes=256 * MIB), scratch_bytes=0, counted=False)
wanted = {{int(number): value for number, value in wanted.items()}}
if sys.argv[2] == "data":
    wanted = {{resource.RLIMIT_DATA: wanted[resource.RLIMIT_DATA]}}
limits.apply({{number: (value, value) for number, value in wanted.items()}})
size = 256 * MIB + {3 << 30}
def mapped(length, more=0):
    return libc.mmap(None, size_t(length), 3, 0x22 | more, -1, size_t(0))
def taken(way):
    if way == "grows-down":
        return mapped(size, 0x100) != failed
    if way == "stack":
        stack = next(line for line in open("/proc/self/maps") if "[stack]" in line)
        page = int(stack.split("-")[0], 16)
        return libc.mremap(size_t(page), size_t(4096), size_t(size), 1) != failed
    for _ in range(size // (64 * MIB)):
        page = mapped(64 * MIB)
        if page == failed or libc.mprotect(size_t(page), size_t(64 * MIB), 1):
            return False
    return True
print("all of it" if taken(sys.argv[1]) else "refused")
"""


def test_a_job_with_a_gpu_has_its_address_space():
    """CUDA reserves as much of it as the machine has memory, and more."""
    address = str(resource.RLIMIT_AS)
    assert address in limits.in_worker(Limits(), scratch_bytes=0, counted=False)
    assert address not in limits.in_worker(Limits(gpu=True), scratch_bytes=0, counted=False)
    assert address not in limits.in_worker(Limits(), scratch_bytes=0, counted=True)


def test_what_is_handed_in_does_not_count_as_address_space():
    address = str(resource.RLIMIT_AS)
    small = limits.in_worker(Limits(), scratch_bytes=0, counted=False)[address]
    large = limits.in_worker(Limits(), scratch_bytes=0, counted=False, mapped_bytes=1 << 40)[address]
    assert large - small == 1 << 40


@pytest.mark.skipif(platform.machine() != "x86_64", reason="system call numbers are of x86-64")
@pytest.mark.parametrize("counted", [True, False])
def test_pages_that_no_group_counts_cannot_be_taken(counted):
    """Huge pages that a host keeps ready are charged to nobody's memory, and stacks to no limit of data."""
    from unit.sandbox.test_sandbox_seccomp import ALLOW, NUMBERS, refused, run

    program = seccomp.compile_filter(memory_counted=counted)
    private, anonymous, grows_down, huge = 0x02, 0x20, 0x100, 0x40000
    assert run(program, NUMBERS["mmap"], (0, 4096, 3, private | anonymous)) == ALLOW
    for flags in (private | anonymous | huge, private | huge, private | anonymous | huge | 21 << 26):
        assert run(program, NUMBERS["mmap"], (0, 4096, 3, flags)) == refused(errno.EPERM)
    assert run(program, NUMBERS["memfd_create"], (1, 0x4)) == refused(errno.EPERM)
    if counted:
        assert run(program, NUMBERS["memfd_create"], (1, 0x3)) == ALLOW
    else:
        stack = private | anonymous | grows_down
        assert run(program, NUMBERS["mmap"], (0, 4096, 3, stack)) == refused(errno.EPERM)


# -- the launcher's loop


@pytest.fixture
def service(tmp_path):
    """A service that waits for orders, with nothing made yet, and the enclave's end of its socket."""
    ours, theirs = protocol.pair()
    filter_ = memory.sealed("filter", b"12345678")
    orders = {
        "plan": {
            "runtime": {"path": str(tmp_path), "executable": "python", "python_version": "3.11",
                        "lock_sha256": "0", "shared_library": False},
            "app": str(tmp_path), "test_programs": None, "tmp_bytes": 1, "shm_bytes": 1, "threads": 1,
        },
        "backend": "landlock", "concurrent": 1, "cgroup": None,
        "warm": {"wanted": 1, "preload": (), "ready_seconds": 1},
    }  # fmt: skip
    with ours, theirs:
        yield Service(theirs, orders, filter_), ours
    os.close(filter_)


@pytest.mark.parametrize("said", [{"a": 1}, [1], "seven", math.inf])
def test_no_word_of_a_worker_ends_the_launcher(service, said):
    made, _ = service
    worker, control = protocol.pair()
    job = SimpleNamespace(control=control, first_row=None, number=1, warm=False)
    with worker, control:
        protocol.send(worker, {"event": "started", "landlock": said})
        made._on_control(job)
    assert job.first_row is not None


def test_a_long_complaint_of_one_that_never_got_ready_is_told(service):
    made, enclave = service
    made._held = {"id": 7}
    made._lost("\x1b" * 200_000 + "the last words")
    enclave.settimeout(5)
    message, _ = protocol.receive(enclave)
    assert (message["id"], message["reason"]) == (7, "did-not-start")
    assert message["error"].endswith("the last words")


def test_one_of_the_pool_that_cannot_be_given_its_task_is_ended(service, monkeypatch):
    """Whatever the reason: one that nobody has any more would live as long as the launcher."""
    made, _ = service
    one = SimpleNamespace(
        verdict="", exit_code=None, warm=True, killed_at=None, inner=None, outer=None, group=None
    )
    made._pool.add(one)

    def refuse(*_):
        raise ValueError("message too long")

    monkeypatch.setattr(spawn.Maker, "assign", refuse)
    message = {"id": 1, "program": "train", "gpu": None, "warm": False, "limits": {"memory_bytes": 1 << 40}}
    made._start(message, [])
    assert one in made._all()
    assert one.verdict == "cancelled"


# -- the enclave's side


def test_a_task_that_cannot_be_sent_gives_its_place_back():
    ours, theirs = protocol.pair()
    descriptor = memory.sealed("input", b"x")
    long = Task("train", {"n" * protocol.MESSAGE_BYTES: descriptor}, Limits(wall_seconds=1))
    made = Launcher(SimpleNamespace(poll=lambda: None), ours, 1, None)
    try:
        with pytest.raises(ValueError, match="too long"):
            made.submit(long)
        assert made._slots.acquire(blocking=False), "the place is taken for ever"
        assert not made._pending
    finally:
        theirs.close()
        made._reader.join()
        ours.close()
        os.close(descriptor)


@pytest.mark.parametrize(
    "said", [{"id": 1}, {}, {"id": [1]}, {"id": 1, "status": "failed", "reason": "", "wall_ms": {}}]
)
def test_who_waits_for_a_launcher_that_talks_nonsense_hears_of_it(said):
    ours, theirs = protocol.pair()
    made = Launcher(SimpleNamespace(poll=lambda: None), ours, 1, None)
    with ours, theirs:
        running = made.submit(Task("train", {}))
        protocol.send(theirs, said)
        with pytest.raises(Unavailable):
            running.result(30)
        made._reader.join()
        assert not made.alive


def test_a_driver_s_libraries_do_not_hide_the_interpreter_s(tmp_path):
    runtime = Runtime(tmp_path, "python/bin/python3", "3.11", "0", shared_library=True)
    made = bubblewrap.Plan(runtime, tmp_path, None, 1, 1, 1)
    options = bubblewrap.options(
        made, seccomp=3, status=4, copies={}, variables={"LD_LIBRARY_PATH": "/usr/local/nvidia/lib64"}
    )
    assert options[options.index("LD_LIBRARY_PATH") + 1] == "/runtime/python/lib:/usr/local/nvidia/lib64"


def test_gvisor_without_a_group_is_refused_also_when_it_is_lost_after_the_probe(monkeypatch, tmp_path):
    report = SimpleNamespace(tier="gvisor", facts=SimpleNamespace(landlock_abi=0))
    monkeypatch.setattr(launching.doctor, "probe", lambda config: report)
    monkeypatch.setattr(launching, "sandbox_identity", lambda user: SimpleNamespace(uid=1, gid=1))
    monkeypatch.setattr(launching, "find_runtime", lambda path: None)
    monkeypatch.setattr(launching, "ensure_app", lambda *_: tmp_path)
    monkeypatch.setattr(launching.cgroup, "prepare", lambda *_: None)
    monkeypatch.setattr(launching.startup, "job_filter", lambda *_, **__: pytest.fail("went on"))
    with pytest.raises(CannotIsolate, match="control group"):
        Launcher.start(SandboxConfig(backend="gvisor"), allow_threads=True)


def test_descriptors_that_come_with_nothing_are_closed():
    left, right = protocol.pair()
    with left, right:
        read, write = os.pipe()
        left.sendmsg([b""], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [write]))])
        os.close(write)
        assert protocol.receive(right) is None
        # Nobody can write any more.
        os.set_blocking(read, False)
        try:
            assert os.read(read, 1) == b""
        finally:
            os.close(read)
