"""Sandboxes without namespaces: the tighter filter on made-up calls, what is ordered, and what a self-check demands."""

import errno
import os
import platform
from pathlib import Path

import pytest
from test_sandbox_seccomp import ALLOW, KILL_PROCESS, NUMBERS, refused, run

from trustspace.sandbox import bubblewrap, confined, seccomp, selfcheck, walls
from trustspace.sandbox.config import SandboxConfig
from trustspace.sandbox.runtime import Runtime

x86_64_only = pytest.mark.skipif(platform.machine() != "x86_64", reason="system call numbers are of x86-64")
MORE = {
    **NUMBERS, "openat": 257, "fork": 57, "vfork": 58, "tkill": 200, "tgkill": 234, "wait4": 61, "setsid": 112,
    "setpgid": 109, "chmod": 90, "utimensat": 280, "link": 86, "rename": 82, "unlink": 87, "mkdir": 83, "chdir": 80,
    "truncate": 76, "ftruncate": 77, "getsid": 124, "getpgid": 121, "sched_getaffinity": 204, "sched_setaffinity": 203,
    "getpriority": 140, "sendto": 44, "write": 1, "futex": 202, "get_robust_list": 274, "pwrite64": 18, "getdents64": 217,
}  # fmt: skip
SIGCHLD, THREAD = 17, 0x3D0F00
O_RDONLY, O_TRUNC, O_CREAT = 0, 0o1000, 0o100


@pytest.fixture(scope="module")
def program():
    return seccomp.compile_confined(truncation_closed=True)


@x86_64_only
@pytest.mark.parametrize(
    "name",
    ["read", "write", "open", "openat", "mmap", "recvmsg", "futex", "ftruncate", "pwrite64", "getdents64"],
)
def test_what_a_program_needs_is_there(program, name):
    assert run(program, MORE[name]) == ALLOW


@x86_64_only
@pytest.mark.parametrize(
    "name",
    ["fork", "vfork", "execve", "execveat", "kill", "tkill", "tgkill", "wait4", "setsid", "setpgid", "chmod", "utimensat",
     "link", "rename", "unlink", "mkdir", "chdir", "truncate", "get_robust_list", "memfd_create", "ptrace", "connect",
     "bind", "sendmsg", "landlock_restrict_self", "pidfd_send_signal", "pidfd_getfd", "process_vm_readv", "io_uring_setup",
     "setns", "unshare", "mount", "sysinfo"],
)  # fmt: skip
def test_what_only_namespaces_would_make_harmless_is_not(program, name):
    assert run(program, MORE[name]) == refused(errno.EPERM)


@x86_64_only
def test_everything_refused_to_a_sandbox_in_namespaces_is_refused_here_too(program):
    wide = seccomp.compile_filter(memory_counted=False)
    for number in range(470):
        if run(wide, number) != ALLOW and run(program, number) == ALLOW:
            raise AssertionError(f"call {number} is allowed without namespaces and not with them")


@x86_64_only
def test_a_thread_and_no_process(program):
    assert run(program, NUMBERS["clone"], (THREAD,)) == ALLOW
    assert run(program, NUMBERS["clone"], (SIGCHLD,)) == refused(errno.EPERM)
    # CLONE_VM and CLONE_VFORK alone: what posix_spawn does.
    assert run(program, NUMBERS["clone"], (0x4100 | SIGCHLD,)) == refused(errno.EPERM)
    for flag in (0x80, 0x20000, 0x02000000, 0x10000000, 0x20000000, 0x40000000, 0x2000):
        assert run(program, NUMBERS["clone"], (THREAD | flag,)) == refused(errno.EPERM)
    assert run(program, NUMBERS["clone3"]) == refused(errno.ENOSYS)


@x86_64_only
@pytest.mark.parametrize("name", ["getsid", "getpgid", "sched_getaffinity", "sched_setaffinity"])
def test_a_number_is_one_s_own(program, name):
    assert run(program, MORE[name], (0,)) == ALLOW
    for other in (1, 4711, 1 << 32, (1 << 32) - 1):
        assert run(program, MORE[name], (other,)) == refused(errno.EPERM)


@x86_64_only
def test_limits_and_priorities_are_one_s_own(program):
    for resource in (0, 1, 2, 6):
        assert run(program, NUMBERS["prlimit64"], (0, resource, 1, 0)) == ALLOW
        assert run(program, NUMBERS["prlimit64"], (4711, resource, 1, 0)) == refused(errno.EPERM)
    assert run(program, NUMBERS["prlimit64"], (0, 4, 0, 1)) == ALLOW
    assert run(program, NUMBERS["prlimit64"], (4711, 4, 0, 1)) == refused(errno.EPERM)
    assert run(program, NUMBERS["prlimit64"], (0, 4, 1, 0)) == refused(errno.EPERM)
    assert run(program, MORE["getpriority"], (0, 0)) == ALLOW
    assert run(program, MORE["getpriority"], (0, 4711)) == refused(errno.EPERM)


@x86_64_only
def test_it_dies_with_the_launcher(program):
    set_parent_death_signal, set_name = 1, 15
    assert run(program, NUMBERS["prctl"], (set_parent_death_signal, 0)) == refused(errno.EPERM)
    assert run(program, NUMBERS["prctl"], (set_name, 1)) == ALLOW


@x86_64_only
def test_a_datagram_goes_to_the_other_half_alone(program):
    assert run(program, MORE["sendto"], (5, 1, 1, 0, 0, 0)) == ALLOW
    assert run(program, MORE["sendto"], (5, 1, 1, 0, 0x7FFF0000, 110)) == refused(errno.EPERM)


@x86_64_only
def test_emptying_a_file_is_refused_where_landlock_does_not(program):
    """Before ABI 3 Landlock has no right for truncation: open(2) with O_TRUNC would empty a file of its user's."""
    old = seccomp.compile_confined(truncation_closed=False)
    for name, before in (("open", (1,)), ("openat", (-100 & (1 << 64) - 1, 1))):
        for flags in (O_RDONLY, os.O_WRONLY, os.O_CLOEXEC, O_CREAT):
            assert run(old, MORE[name], (*before, flags)) == ALLOW
        for flags in (O_TRUNC, O_TRUNC | os.O_WRONLY | O_CREAT):
            assert run(old, MORE[name], (*before, flags)) == refused(errno.EPERM)
            assert run(program, MORE[name], (*before, flags)) == ALLOW


@x86_64_only
def test_memory_that_its_limit_does_not_see_is_refused_always(program):
    shared, private, anonymous = 0x01, 0x02, 0x20
    assert run(program, NUMBERS["mmap"], (0, 4096, 3, shared | anonymous)) == refused(errno.EPERM)
    for flags in (shared, private, private | anonymous):
        assert run(program, NUMBERS["mmap"], (0, 4096, 3, flags)) == ALLOW


@x86_64_only
def test_other_entries_kill(program):
    assert run(program, 20, architecture=0x40000003) == KILL_PROCESS
    assert run(program, 0x40000027) == KILL_PROCESS


# -- what is ordered


@pytest.fixture
def plan(tmp_path):
    runtime = Runtime(Path("/opt/runtime"), "python/bin/python3.11", "3.11.2", "00", shared_library=False)
    return bubblewrap.plan(SandboxConfig(), runtime, tmp_path / "app")


def test_nothing_but_the_runtime_libraries_and_facts_can_be_read(plan):
    readable = confined.readable(plan)
    libraries = set(bubblewrap.library_folders())
    assert libraries
    assert set(readable) - libraries == {
        "/opt/runtime/python", "/opt/runtime/site-packages", str(plan.app), "/dev/null", "/dev/random", "/dev/urandom",
        "/proc/cpuinfo", "/sys/devices/system/cpu/possible", "/sys/devices/system/cpu/present",
        "/sys/devices/system/cpu/online",
    }  # fmt: skip
    assert all(folder.startswith(("/usr/lib", "/lib")) for folder in libraries)
    ordered = confined.walls(plan, b"12345678")
    assert ordered["landlock"][1:] == [[], ("/dev/null",)], "no scratch space, and one file to write to"


def test_the_environment_is_fixed_and_names_no_place_to_write(plan, monkeypatch):
    monkeypatch.setenv("TRUSTSPACE_CANARY", "x")
    environment = confined.environment(plan)
    assert set(environment) == {"HOME", "LOGNAME", "LANG", "TZ", "PYTHONHASHSEED", "OMP_NUM_THREADS", "MALLOC_ARENA_MAX",
                                "TORCHINDUCTOR_CACHE_DIR"}  # fmt: skip
    assert not Path(environment["HOME"]).exists()


def test_how_many_threads_a_user_may_have(plan, monkeypatch):
    orders = {"concurrent": 8, "warm": {"wanted": 2}}
    monkeypatch.setattr(confined.memory, "read", lambda *_: b"12345678")
    backend = confined.Confined(orders, plan, seccomp=-1)
    assert backend.process_limit(16, counted=True) is None, "a control group counts them one by one"
    now = confined._threads_of_this_user()
    assert now >= 1
    limit = backend.process_limit(16, counted=False)
    # Others come and go meanwhile.
    assert abs(limit - now - 16 * 10) < 1000
    assert limit > 16 * 10


def test_a_filter_is_not_loaded_beside_another_thread(monkeypatch):
    monkeypatch.setattr(walls.sys, "_current_frames", lambda: {1: None, 2: None})
    with pytest.raises(RuntimeError, match="one thread"):
        walls.shut({"filter": ""})


# -- the self-check

GOOD = {
    "uid": 990, "seccomp": 2, "no_new_privs": 1, "core_limit": [1, 1], "no_network": True, "root_read_only": True,
    "root_closed": True, "no_process": True, "no_signal": True, "no_scratch": True, "dumpable": 0, "capabilities": 5,
}  # fmt: skip


def test_a_sandbox_as_ordered_passes():
    assert selfcheck.weaknesses(GOOD, "landlock", user=990, landlock=True) == []
    inside = {
        **GOOD,
        "uid": 65534,
        "capabilities": 0,
        "no_process": False,
        "no_scratch": False,
        "dumpable": 1,
    }
    assert selfcheck.weaknesses(inside, "namespaces", user=990, landlock=True) == []


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"uid": 0}, "user"), ({"uid": 65534}, "user"), ({"seccomp": 0}, "seccomp"), ({"no_new_privs": 0}, "no_new_privs"),
        ({"core_limit": [0, 0]}, "core dumps"), ({"no_network": False}, "network"), ({"root_read_only": False}, "read-only root"),
        ({"root_closed": False}, "landlock"), ({"no_process": False}, "one process"), ({"no_signal": False}, "signals"),
        ({"no_scratch": False}, "scratch space"), ({"dumpable": 1}, "closed memory"),
    ],
)  # fmt: skip
def test_each_missing_wall_is_named(wrong, name):
    assert selfcheck.weaknesses({**GOOD, **wrong}, "landlock", user=990, landlock=True) == [name]
    missing = {key: value for key, value in GOOD.items() if key not in wrong}
    assert selfcheck.weaknesses(missing, "landlock", user=990, landlock=True) == [name]


def test_root_is_nobody_s_user():
    assert selfcheck.weaknesses({**GOOD, "uid": 0}, "landlock", user=0, landlock=True) == ["user"]
